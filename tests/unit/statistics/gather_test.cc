// Statistics against plain double-precision recomputation: ranges, channels, Grams, subgraphs,
// threads, order, errors.
#include <algorithm>
#include <cmath>
#include <random>

#include "core/base/status.h"
#include "core/statistics/statistics.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/model_builder.h"
#include "tests/support/test_job.h"

namespace modelpress {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::ModelFromText;
using testing::TestJob;

// Feeds of one float input "x".
class FloatSamples : public Samples {
 public:
  FloatSamples(std::vector<int64_t> dims, std::vector<std::vector<float>> feeds)
      : dims_(std::move(dims)), feeds_(std::move(feeds)) {}
  uint64_t size() const override { return feeds_.size(); }
  uint64_t batches() const override { return feeds_.size(); }
  bool has_labels() const override { return false; }
  std::string description() const override { return "samples of the test"; }
  absl::StatusOr<Batch> Read(uint64_t index) const override {
    std::span<std::byte> bytes;
    Tensor tensor = Tensor::Make(DataType::kFloat, dims_, &bytes).value();
    std::ranges::copy(std::as_bytes(std::span(feeds_[index])), bytes.begin());
    Batch batch{.samples = 1, .first = index};
    batch.inputs.emplace("x", std::move(tensor));
    for (const auto& [name, value] : more) batch.inputs.emplace(name, value);
    return batch;
  }
  TensorMap more;

 private:
  std::vector<int64_t> dims_;
  std::vector<std::vector<float>> feeds_;
};

std::vector<std::vector<float>> RandomFeeds(size_t feeds, size_t elements, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.2f, 1.5f);
  std::vector<std::vector<float>> result(feeds, std::vector<float>(elements));
  for (auto& feed : result) {
    for (float& value : feed) value = normal(random);
  }
  return result;
}

absl::StatusOr<Statistics> Gather(const Model& model, const Samples& samples,
                                  std::vector<StatisticRequest> requests, size_t threads = 1) {
  TestJob job(threads);
  return GatherStatistics(model, samples, std::move(requests), job.context(), nullptr);
}

constexpr const char* kNegate = R"(<ir_version: 8, opset_import: ["" : 17]>
    g (float[2, 3] x) => (float[2, 3] y) { t = Neg(x)  y = Abs(t) })";

TEST(GatherTest, RangesCountsAndChannels) {
  const Model model = ModelFromText(kNegate);
  const FloatSamples samples({2, 3}, {{1, 2, 3, 4, 5, 6}, {-1, 0, 1, 0, 0, 9}});
  const auto found =
      Gather(model, samples,
             {{.key = {"", "t"}, .histogram = true, .channel_axis = -1}, {.key = {"", "x"}}})
          .value();
  EXPECT_EQ(found.samples(), 2u);
  EXPECT_EQ(found.forwards(), 1u);
  EXPECT_THAT(found.unobserved(), IsEmpty());
  const ValueStatistics* t = found.Find({"", "t"});
  ASSERT_NE(t, nullptr);
  EXPECT_EQ(t->min, -9);
  EXPECT_EQ(t->max, 1);
  EXPECT_EQ(t->count, 12u);
  EXPECT_THAT(t->last_dims, ElementsAre(2, 3));
  EXPECT_EQ(t->histogram->total(), 12u);
  EXPECT_EQ(t->histogram->zeros(), 3u);
  EXPECT_THAT(t->channels->min, ElementsAre(-4, -5, -9));
  EXPECT_THAT(t->channels->max, ElementsAre(1, 0, 0));
  EXPECT_THAT(t->channels->mean, ElementsAre(-1, -1.75, -4.75));
  EXPECT_THAT(t->channels->mean_square, ElementsAre(4.5, 7.25, 31.75));
  EXPECT_EQ(found.Find({"", "x"})->max, 9);
  EXPECT_EQ(found.Find({"", "y"}), nullptr);
}

TEST(GatherTest, SeesTheBranchThatRan) {
  const Model model = ModelFromText(R"(<ir_version: 8, opset_import: ["" : 17]>
    g (float[2] x) => (float[2] y) <bool c = {1}> {
      y = If(c) <then_branch = a () => (float[2] u) { t = Neg(x) u = Abs(t) },
                 else_branch = b () => (float[2] u) { t = Add(x, x) u = Abs(t) }>
    })");
  const FloatSamples samples({2}, {{1, -2}});
  const auto found =
      Gather(model, samples, {{.key = {"y/then_branch", "t"}}, {.key = {"y/else_branch", "t"}}})
          .value();
  ASSERT_NE(found.Find({"y/then_branch", "t"}), nullptr);
  EXPECT_EQ(found.Find({"y/then_branch", "t"})->max, 2);
  EXPECT_EQ(found.Find({"y/else_branch", "t"}), nullptr);
  ASSERT_EQ(found.unobserved().size(), 1u);
  EXPECT_EQ(found.unobserved()[0].reason, "no sample came by it");
}

TEST(GatherTest, WhatCannotBeObservedIsSaid) {
  const Model model = ModelFromText(R"(<ir_version: 8, opset_import: ["" : 17]>
    g (float[2] x) => (float[2] y) <float[2] w = {1, 2}> { s = Shape(x) t = Add(x, w) y = Expand(t, s) })");
  const FloatSamples samples({2}, {{1, -2}});
  const auto found = Gather(model, samples,
                            {{.key = {"", "s"}},
                             {.key = {"", "w"}},
                             {.key = {"", "ghost"}},
                             {.key = {"nowhere", "t"}},
                             {.key = {"", "t"}, .channel_axis = 4}})
                         .value();
  std::map<std::string, std::string> reasons;
  for (const auto& row : found.unobserved()) reasons[row.key.value] = row.reason;
  EXPECT_THAT(reasons["s"], HasSubstr("int64"));
  EXPECT_THAT(reasons["w"], HasSubstr("constant"));
  EXPECT_THAT(reasons["ghost"], HasSubstr("does not define"));
  EXPECT_THAT(reasons["t"], HasSubstr("no axis 4"));
}

TEST(GatherTest, NotFiniteNamesValueAndSample) {
  const Model model = ModelFromText(R"(<ir_version: 8, opset_import: ["" : 17]>
    g (float[2] x) => (float[2] y) { t = Log(x)  y = Abs(t) })");
  const FloatSamples samples({2}, {{1, 2}, {1, -2}});
  const absl::Status status = Gather(model, samples, {{.key = {"", "t"}}}).status();
  EXPECT_EQ(ReasonOf(status), ERROR_REASON_DATA_NOT_FINITE);
  EXPECT_THAT(std::string(status.message()), HasSubstr("'t' is NaN or infinite on sample 1"));
}

// Mean of x x^T over `rows` rows.
std::vector<double> PlainGram(const std::vector<std::vector<double>>& rows) {
  const size_t size = rows[0].size();
  std::vector<double> gram(size * size);
  for (const auto& row : rows) {
    for (size_t i = 0; i < size; ++i) {
      for (size_t j = 0; j < size; ++j) gram[i * size + j] += row[i] * row[j] / rows.size();
    }
  }
  return gram;
}

void ExpectNear(const Gram& gram, const std::vector<double>& expected) {
  ASSERT_EQ(gram.matrix.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_NEAR(gram.matrix[i], expected[i], 1e-5 * std::abs(expected[i]) + 1e-5) << i;
  }
}

TEST(GatherTest, GramOfRowsIsSplitByFeeds) {
  constexpr int64_t kRows = 300, kSize = 70;  // more than a block of rows, not a whole panel
  const Model model = ModelFromText(R"(<ir_version: 8, opset_import: ["" : 17]>
    g (float[300, 70] x) => (float[300, 70] y) { y = Neg(x) })");
  const auto feeds = RandomFeeds(6, kRows * kSize, 7);
  const FloatSamples samples({kRows, kSize}, feeds);
  std::vector<std::vector<double>> fit, held_back;
  for (size_t i = 0; i < feeds.size(); ++i) {
    for (int64_t row = 0; row < kRows; ++row) {
      auto& rows = i % 5 == 4 ? held_back : fit;
      rows.emplace_back(feeds[i].begin() + row * kSize, feeds[i].begin() + (row + 1) * kSize);
    }
  }
  std::vector<float> first;
  for (const size_t threads : {1, 3}) {
    const auto found =
        Gather(model, samples, {{.key = {"", "x"}, .gram = GramLayout{}}}, threads).value();
    const ValueStatistics* x = found.Find({"", "x"});
    ASSERT_EQ(x->fit.size(), 1u);
    ASSERT_EQ(x->held_back.size(), 1u);
    EXPECT_EQ(x->fit[0].rows, 5u * kRows);
    EXPECT_EQ(x->held_back[0].rows, 1u * kRows);
    ExpectNear(x->fit[0], PlainGram(fit));
    ExpectNear(x->held_back[0], PlainGram(held_back));
    if (first.empty()) first = x->fit[0].matrix;
    EXPECT_EQ(x->fit[0].matrix, first);
  }
}

TEST(GatherTest, GramOfPatchesMeetsTheConvolution) {
  // 4 channels in 2 groups, 3 x 2 kernel, strides, dilations and uneven pads.
  const Model model = ModelFromText(R"(<ir_version: 8, opset_import: ["" : 17]>
    g (float[1, 4, 7, 6] x) => (float[1, 4, 7, 6] y) { y = Neg(x) })");
  const auto feeds = RandomFeeds(2, 4 * 7 * 6, 3);
  const FloatSamples samples({1, 4, 7, 6}, feeds);
  const GramLayout layout{.kind = GramLayout::Kind::kConv,
                          .kernel = {3, 2},
                          .strides = {2, 1},
                          .dilations = {1, 2},
                          .pads = {1, 0, 2, 1},
                          .group = 2};
  const auto found = Gather(model, samples, {{.key = {"", "x"}, .gram = layout}}).value();
  const ValueStatistics* x = found.Find({"", "x"});
  ASSERT_EQ(x->fit.size(), 2u);
  for (int group = 0; group < 2; ++group) {
    std::vector<std::vector<double>> rows;
    for (const auto& feed : feeds) {
      for (int oy = 0; oy < (7 + 3 - 3) / 2 + 1; ++oy) {
        for (int ox = 0; ox < (6 + 1 - 3) / 1 + 1; ++ox) {
          std::vector<double> row;
          for (int c = 0; c < 2; ++c) {
            for (int ky = 0; ky < 3; ++ky) {
              for (int kx = 0; kx < 2; ++kx) {
                const int iy = oy * 2 + ky - 1, ix = ox + kx * 2;
                const bool inside = iy >= 0 && iy < 7 && ix >= 0 && ix < 6;
                row.push_back(inside ? feed[((group * 2 + c) * 7 + iy) * 6 + ix] : 0);
              }
            }
          }
          rows.push_back(row);
        }
      }
    }
    EXPECT_EQ(x->fit[group].rows, rows.size());
    ExpectNear(x->fit[group], PlainGram(rows));
    EXPECT_EQ(x->fit[group].matrix, x->held_back[group].matrix);  // fewer than 5 feeds
  }
}

TEST(GatherTest, SplitsGramsOverForwardsWithinTheBudget) {
  const Model model = ModelFromText(R"(<ir_version: 8, opset_import: ["" : 17]>
    g (float[8, 64] x) => (float[8, 64] y) { t = Neg(x)  y = Abs(t) })");
  const FloatSamples samples({8, 64}, RandomFeeds(7, 8 * 64, 11));
  const std::vector<StatisticRequest> requests = {{.key = {"", "x"}, .gram = GramLayout{}},
                                                  {.key = {"", "t"}, .gram = GramLayout{}}};
  TestJob job;
  JobContext context = job.context();
  const auto together = GatherStatistics(model, samples, requests, context, nullptr).value();
  EXPECT_EQ(together.forwards(), 1u);
  context.memory_budget_bytes = 2 * (2 * 64 * 64 * 4);  // one pair of Grams
  const auto apart = GatherStatistics(model, samples, requests, context, nullptr).value();
  EXPECT_EQ(apart.forwards(), 2u);
  for (const char* name : {"x", "t"}) {
    EXPECT_EQ(apart.Find({"", name})->fit[0].matrix, together.Find({"", name})->fit[0].matrix);
    EXPECT_EQ(apart.Find({"", name})->count, together.Find({"", name})->count);
  }
  context.memory_budget_bytes = 1000;
  const auto none = GatherStatistics(model, samples, requests, context, nullptr).value();
  EXPECT_THAT(none.Find({"", "x"})->fit, IsEmpty());
  EXPECT_EQ(none.unobserved().size(), 2u);
}

TEST(GatherTest, OrderAndThreadsChangeNothing) {
  // Larger than one piece of work; magnitudes that make the histogram widen.
  constexpr int64_t kSize = 600 * 1000;
  const Model model = ModelFromText(R"(<ir_version: 8, opset_import: ["" : 17]>
    g (float[2, 300000] x) => (float[2, 300000] y) { y = Neg(x) })");
  auto feeds = RandomFeeds(3, kSize, 5);
  for (float& value : feeds[1]) value *= 37;
  for (float& value : feeds[2]) value *= 0.001f;
  std::optional<Histogram> first;
  std::vector<double> means;
  for (const size_t threads : {1, 4}) {
    const FloatSamples samples({2, 300000}, feeds);
    const auto found =
        Gather(model, samples, {{.key = {"", "x"}, .histogram = true, .channel_axis = 0}}, threads)
            .value();
    const ValueStatistics* x = found.Find({"", "x"});
    if (!first.has_value()) {
      first = x->histogram;
      means = x->channels->mean;
    }
    EXPECT_TRUE(*x->histogram == *first);
    EXPECT_EQ(x->channels->mean, means);
    std::ranges::rotate(feeds, feeds.begin() + 1);
  }
}

}  // namespace
}  // namespace modelpress
