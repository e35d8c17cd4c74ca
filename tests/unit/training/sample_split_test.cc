// Dividing samples: who trains, validates and judges, and that no row is in two places.
#include "core/training/sample_split.h"

#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace modelpress {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

uint64_t Count(const SampleSplit& split, size_t source, uint8_t use) {
  uint64_t count = 0;
  for (const uint8_t bits : split.uses[source]) count += (bits & use) != 0;
  return count;
}

struct Expected {
  uint64_t trained, validated, judged;
};

struct Case {
  std::string what;
  std::vector<SampleSource> sources;
  std::vector<Expected> expected;  // by source
};

TEST(SampleSplitTest, WhoJudges) {
  const std::vector<Case> cases = {
      {"labels of calib judge, with a fifth of those without labels",
       {{"train", 400, true}, {"unlabeled", 5000, false}, {"calib", 200, true}},
       {{360, 40, 0}, {3600, 400, 1000}, {0, 0, 200}}},
      {"at least 800 without labels",
       {{"train", 400, true}, {"unlabeled", 4000, false}, {"calib", 200, true}},
       {{360, 40, 0}, {2880, 320, 800}, {0, 0, 200}}},
      {"no more than half of them",
       {{"train", 400, true}, {"unlabeled", 1000, false}, {"calib", 200, true}},
       {{360, 40, 0}, {450, 50, 500}, {0, 0, 200}}},
      {"val comes before calib, which then validates",
       {{"train", 400, true}, {"unlabeled", 1000, false}, {"calib", 200, true}, {"val", 300, true}},
       {{400, 0, 0}, {500, 0, 500}, {0, 200, 0}, {0, 0, 300}}},
      {"val without labels counts among those without",
       {{"unlabeled", 1000, false}, {"calib", 200, true}, {"val", 700, false}},
       {{810, 90, 100}, {0, 0, 200}, {0, 0, 700}}},
      {"calib without labels validates",
       {{"train", 1000, true}, {"calib", 200, false}},
       {{900, 0, 100}, {0, 200, 0}}},
      {"a tenth of many labelled samples", {{"train", 5000, true}}, {{4050, 450, 500}}},
      {"half of few labelled ones; they validate too", {{"calib", 120, true}}, {{60, 60, 60}}},
      {"calib is all there is", {{"calib", 400, true}}, {{270, 30, 100}}},
      {"one sample", {{"unlabeled", 1, false}}, {{1, 1, 0}}},
      {"two samples", {{"unlabeled", 2, false}}, {{1, 1, 1}}},
      {"nothing", {{"unlabeled", 0, false}}, {{0, 0, 0}}},
  };
  for (const Case& row : cases) {
    const SampleSplit split = SplitForJudging(row.sources, /*seed=*/7);
    for (size_t s = 0; s < row.sources.size(); ++s) {
      EXPECT_EQ(Count(split, s, kTrainedOn), row.expected[s].trained) << row.what << ", " << s;
      EXPECT_EQ(Count(split, s, kValidatedBy), row.expected[s].validated) << row.what << ", " << s;
      EXPECT_EQ(Count(split, s, kJudgedBy), row.expected[s].judged) << row.what << ", " << s;
    }
  }
}

TEST(SampleSplitTest, WithoutJudgesItIsAsItAlwaysWas) {
  const std::vector<Case> cases = {
      {"val validates", {{"train", 40, true}, {"val", 30, true}}, {{40, 0, 0}, {0, 30, 0}}},
      {"else calib", {{"unlabeled", 40, false}, {"calib", 30, true}}, {{40, 0, 0}, {0, 30, 0}}},
      {"calib is trained on where it is all there is", {{"calib", 35, true}}, {{32, 3, 0}}},
      {"every tenth over both",
       {{"train", 15, true}, {"unlabeled", 10, false}},
       {{14, 1, 0}, {9, 1, 0}}},
      {"of fewer than ten the last", {{"train", 4, true}}, {{3, 1, 0}}},
      {"one is both", {{"train", 1, true}}, {{1, 1, 0}}},
  };
  for (const Case& row : cases) {
    const SampleSplit split = SplitForTraining(row.sources);
    for (size_t s = 0; s < row.sources.size(); ++s) {
      EXPECT_EQ(Count(split, s, kTrainedOn), row.expected[s].trained) << row.what;
      EXPECT_EQ(Count(split, s, kValidatedBy), row.expected[s].validated) << row.what;
      EXPECT_EQ(Count(split, s, kJudgedBy), 0u) << row.what;
    }
  }
  // The ninth of ten, counted over both sources.
  const SampleSplit split = SplitForTraining({{"train", 15, true}, {"unlabeled", 10, false}});
  EXPECT_EQ(split.uses[0][9], kValidatedBy);
  EXPECT_EQ(split.uses[1][4], kValidatedBy);
}

TEST(SampleSplitTest, NoRowIsInTwoPlacesUnlessItIsSaid) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  int apart = 0;
  for (int round = 0; round < 300; ++round) {
    std::vector<SampleSource> sources;
    uint64_t rows = 0;
    for (const char* name : {"train", "unlabeled", "calib", "val"}) {
      if (random() % 3 == 0) continue;
      const uint64_t count = random() % (random() % 2 == 0 ? 12 : 1500);
      sources.push_back({name, count, random() % 2 == 0});
      rows += count;
    }
    const SampleSplit split = SplitForJudging(sources, random());
    uint64_t seen = 0;
    for (size_t s = 0; s < sources.size(); ++s) {
      ASSERT_EQ(split.uses[s].size(), sources[s].rows);
      for (const uint8_t bits : split.uses[s]) {
        EXPECT_NE(bits, 0);
        seen += bits != 0;
        // What trains never judges.
        EXPECT_NE(bits & (kTrainedOn | kJudgedBy), kTrainedOn | kJudgedBy);
        if (split.notes.empty() && split.Count(kTrainedOn) > 1) {
          EXPECT_EQ(bits & (bits - 1), 0) << "a row has two uses";
        }
      }
    }
    EXPECT_EQ(seen, rows);
    apart += split.notes.empty();
  }
  EXPECT_GT(apart, 100);
}

TEST(SampleSplitTest, TheSeedDrawsAndTheSameSeedDrawsTheSame) {
  const std::vector<SampleSource> sources = {{"unlabeled", 5000, false}};
  EXPECT_EQ(SplitForJudging(sources, 1).uses, SplitForJudging(sources, 1).uses);
  EXPECT_NE(SplitForJudging(sources, 1).uses, SplitForJudging(sources, 2).uses);
}

TEST(SampleSplitTest, TooFewSamplesAreSaid) {
  const SampleSplit few = SplitForJudging({{"unlabeled", 100, false}}, 0);
  ASSERT_EQ(few.notes.size(), 1u);
  EXPECT_THAT(few.notes[0], HasSubstr("only 50 samples"));
  const SampleSplit enough = SplitForJudging({{"train", 400, true}, {"calib", 100, true}}, 0);
  EXPECT_THAT(enough.notes, IsEmpty());
  EXPECT_EQ(enough.description, "train; validation: every 10th of them; judged by: calib");
}

}  // namespace
}  // namespace modelpress
