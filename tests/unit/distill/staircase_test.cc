// The search for the smallest student over made-up students.
#include "core/distill/staircase.h"

#include <cmath>
#include <set>

#include "core/base/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace modelpress {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint64_t kOriginal = 1'000'000;

struct Case {
  std::string what;
  // Which sizes hold.
  std::function<bool(uint64_t parameters)> holds;
  StaircaseOptions options;
  // Parameters of the result, from .. to.
  uint64_t from, to;
  std::string end;
};

// A student of width w has w^2 of the parameters, in steps.
uint64_t Size(double width, uint64_t step) {
  const auto size = static_cast<uint64_t>(width * width * kOriginal);
  return std::max(step, size / step * step);
}

struct Searched {
  absl::StatusOr<StaircaseResult> result;
  std::vector<uint64_t> tried;
};

Searched Search(StaircaseOptions options, const std::function<bool(uint64_t)>& holds,
                uint64_t step) {
  options.original_parameters = kOriginal;
  std::vector<uint64_t> tried;
  auto result = DescendStaircase(
      options, [&](double width) { return Size(width, step); },
      [&](double width) {
        tried.push_back(Size(width, step));
        return Trial{.parameters = tried.back(), .holds = holds(tried.back())};
      });
  return {std::move(result), tried};
}

TEST(StaircaseTest, FindsTheSmallestThatHolds) {
  const std::vector<Case> cases = {
      {"down, then between the last two",
       [](uint64_t p) { return p >= 70'000; },
       {},
       70'000,
       86'000,
       "no size between"},
      {"the first misses",
       [](uint64_t p) { return p >= 800'000; },
       {},
       800'000,
       890'000,
       "no size between"},
      {"nothing holds",
       [](uint64_t) { return false; },
       {},
       kOriginal,
       kOriginal,
       "no size between"},
      {"everything holds",
       [](uint64_t) { return true; },
       {.max_students = 100},
       1'000,
       1'000,
       "no student can be made smaller"},
      {"a budget of students",
       [](uint64_t) { return true; },
       {.max_students = 3},
       110'000,
       120'000,
       "3 students were tried"},
      {"no smaller than asked for",
       [](uint64_t) { return true; },
       {.min_parameters = 200'000},
       200'000,
       222'000,
       "min_parameters"},
      {"a coarse step",
       [](uint64_t p) { return p >= 70'000; },
       {.shrink = 0.2},
       70'000,
       86'000,
       "no size between"},
      // Below a first miss nothing is looked for, though a smaller one would hold.
      {"not monotone",
       [](uint64_t p) { return p < 90'000 || p > 300'000; },
       {},
       300'000,
       345'000,
       "no size between"},
  };
  for (const Case& row : cases) {
    const Searched searched = Search(row.options, row.holds, 1'000);
    ASSERT_TRUE(searched.result.ok()) << row.what;
    EXPECT_GE(searched.result->parameters, row.from) << row.what;
    EXPECT_LE(searched.result->parameters, row.to) << row.what;
    EXPECT_THAT(searched.result->end, HasSubstr(row.end)) << row.what;
    EXPECT_EQ(searched.result->width == 1, row.from == kOriginal) << row.what;
    EXPECT_EQ(std::set(searched.tried.begin(), searched.tried.end()).size(), searched.tried.size())
        << row.what << ": a size was tried twice";
    for (const uint64_t size : searched.tried) EXPECT_GE(size, row.options.min_parameters);
  }
}

TEST(StaircaseTest, SizesInCoarseStepsAreTriedOnce) {
  // Four sizes only: 250,000, 500,000, 750,000 and the original.
  const Searched searched = Search({}, [](uint64_t p) { return p >= 500'000; }, 250'000);
  ASSERT_TRUE(searched.result.ok());
  EXPECT_EQ(searched.result->parameters, 500'000u);
  EXPECT_LE(searched.tried.size(), 3u);
  // None at all.
  const Searched none = Search({}, [](uint64_t) { return true; }, kOriginal);
  ASSERT_TRUE(none.result.ok());
  EXPECT_TRUE(none.tried.empty());
  EXPECT_EQ(none.result->width, 1);
  EXPECT_THAT(none.result->end, HasSubstr("no student can be made smaller"));
}

TEST(StaircaseTest, StepsThatMakeAStudentHardlySmallerAreTakenTogether) {
  // Half of the parameters stay at any width, and the rest comes in steps of 20,000.
  constexpr uint64_t kFixed = 500'000;
  const auto size = [](double width) { return kFixed + Size(width, 20'000) / 2; };
  const uint64_t narrowest = size(1e-9), third = size(std::pow(0.7, 3));
  for (const uint64_t least : {narrowest, third}) {
    std::vector<uint64_t> tried;
    const auto result =
        DescendStaircase({.original_parameters = kOriginal, .smallest_parameters = narrowest}, size,
                         [&](double width) {
                           tried.push_back(size(width));
                           return Trial{.parameters = tried.back(), .holds = tried.back() >= least};
                         });
    ASSERT_TRUE(result.ok());
    // The narrowest is tried though it is hardly smaller: nothing else is left.
    EXPECT_THAT(tried, ElementsAre(size(0.7), third, narrowest));
    EXPECT_EQ(result->parameters, least);
  }
}

TEST(StaircaseTest, AMiddleThatIsLikeTheOneThatHoldsDoesNotEndTheSearch) {
  // The widths tried are 0.343 with 343,000 parameters, 0.24 with 40,000, and between them 0.287 with nearly as many as the
  // first; below that sizes fall steeply.
  const auto size = [](double width) -> uint64_t {
    if (width < 0.27) return static_cast<uint64_t>(0.7e6 * width * width);
    return width < 0.34 ? 326'000 : static_cast<uint64_t>(1e6 * width);
  };
  std::vector<uint64_t> tried;
  const auto result = DescendStaircase({.original_parameters = kOriginal}, size, [&](double width) {
    tried.push_back(size(width));
    return Trial{.parameters = tried.back(), .holds = tried.back() >= 45'000};
  });
  ASSERT_TRUE(result.ok());
  EXPECT_LT(result->parameters, 56'000u) << ::testing::PrintToString(tried);
}

TEST(StaircaseTest, StudentsThatWereNotTrainedAreNotCounted) {
  int made = 0;
  const auto result = DescendStaircase(
      {.max_students = 2, .original_parameters = kOriginal},
      [](double width) { return Size(width, 1); },
      [&](double width) {
        ++made;
        return Trial{Size(width, 1), /*holds=*/true, /*counts=*/width < 0.1};
      });
  ASSERT_TRUE(result.ok());
  EXPECT_THAT(result->end, HasSubstr("2 students"));
  EXPECT_EQ(made, 8);  // 0.7^7 = 0.082, 0.7^8 = 0.058
}

TEST(StaircaseTest, StopsWhenTheTimeIsUpAndAtErrors) {
  int made = 0;
  const auto result = DescendStaircase(
      {.original_parameters = kOriginal, .out_of_time = [&] { return made == 2; }},
      [](double width) { return Size(width, 1); },
      [&](double width) {
        ++made;
        return Trial{Size(width, 1), true};
      });
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->end, "the time is up");
  EXPECT_NEAR(result->width, 0.49, 1e-12);
  const auto failed = DescendStaircase(
      {.original_parameters = kOriginal}, [](double width) { return Size(width, 1); },
      [](double) -> absl::StatusOr<Trial> { return absl::CancelledError("stop"); });
  EXPECT_EQ(failed.status().code(), absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace modelpress
