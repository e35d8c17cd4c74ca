// Output comparison: SQNR, cosine, largest error, values that are not finite.
#include "core/measure/comparison.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/base/status.h"
#include "tests/unit/measure/tensors.h"

namespace modelpress {
namespace {

using testing::Floats;

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr float kInfF = std::numeric_limits<float>::infinity();
constexpr float kNanF = std::numeric_limits<float>::quiet_NaN();

OutputComparison CompareOne(const Tensor& x, const Tensor& y) {
  OutputComparer comparer;
  const absl::Status status = comparer.Add({{"y", x}}, {{"y", y}}, 0, 1);
  EXPECT_TRUE(status.ok()) << status;
  return comparer.Finish().at(0);
}

TEST(SqnrTest, Conventions) {
  EXPECT_DOUBLE_EQ(SqnrDb(100, 1), 20);
  EXPECT_DOUBLE_EQ(SqnrDb(1, 10), -10);
  EXPECT_EQ(SqnrDb(5, 0), kInf);
  EXPECT_EQ(SqnrDb(0, 0), kInf);
  EXPECT_EQ(SqnrDb(0, 3), 0);
  EXPECT_EQ(SqnrDb(3, kInf), -kInf);
}

TEST(OutputComparerTest, LiteralCases) {
  struct Case {
    std::vector<float> x, y;
    double sqnr, cosine, max_error;
    uint64_t not_finite;
  };
  const Case cases[] = {
      {{3, 4}, {3, 4}, kInf, 1, 0, 0},
      {{3, 4}, {3, 3.5}, 10 * std::log10(25 / 0.25), 23 / std::sqrt(25 * 21.25), 0.5, 0},
      {{1, 0}, {0, 1}, 10 * std::log10(1 / 2.0), 0, 1, 0},
      {{1, 1}, {-1, -1}, 10 * std::log10(2 / 8.0), -1, 2, 0},
      {{0, 0}, {0, 0}, kInf, 1, 0, 0},
      {{0, 0}, {0, 1}, 0, 0, 1, 0},
      {{1, 0}, {0, 0}, 0, 0, 1, 0},
      {{1, kNanF}, {1, kNanF}, kInf, 1, 0, 0},
      {{1, kInfF}, {1, kInfF}, kInf, 1, 0, 0},
      {{1, kInfF}, {1, -kInfF}, -kInf, 1, kInf, 0},
      {{1, 2}, {1, kNanF}, -kInf, 1, kInf, 1},
      {{1, 2}, {1, kInfF}, -kInf, 1, kInf, 1},
      {{1, -kInfF}, {1, -65504}, -kInf, 1, kInf, 0},
      {{}, {}, kInf, 1, 0, 0},
  };
  for (const Case& c : cases) {
    const auto size = static_cast<int64_t>(c.x.size());
    const OutputComparison row = CompareOne(Floats({size}, c.x), Floats({size}, c.y));
    SCOPED_TRACE(row.ShortDebugString());
    if (std::isinf(c.sqnr)) {
      EXPECT_EQ(row.sqnr_db(), c.sqnr);
    } else {
      EXPECT_NEAR(row.sqnr_db(), c.sqnr, 1e-9);
    }
    EXPECT_NEAR(row.cosine(), c.cosine, 1e-12);
    EXPECT_EQ(row.max_abs_error(), c.max_error);
    EXPECT_EQ(row.not_finite(), c.not_finite);
  }
}

TEST(OutputComparerTest, NamesTheWorstSampleAndSortsOutputs) {
  OutputComparer comparer;
  ASSERT_TRUE(comparer
                  .Add({{"b", Floats({2, 1}, {1, 1})}, {"a", Floats({1}, {7})}},
                       {{"b", Floats({2, 1}, {1, 0.9f})}, {"a", Floats({1}, {7})}}, 0, 2)
                  .ok());
  ASSERT_TRUE(comparer
                  .Add({{"b", Floats({2, 1}, {1, 1})}, {"a", Floats({1}, {7})}},
                       {{"b", Floats({2, 1}, {0.5f, 1})}, {"a", Floats({1}, {7})}}, 2, 2)
                  .ok());
  const auto rows = comparer.Finish();
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].output(), "a");
  EXPECT_EQ(rows[1].output(), "b");
  EXPECT_EQ(rows[1].worst_sample(), 2u);
  EXPECT_NEAR(rows[1].worst_sqnr_db(), 10 * std::log10(1 / 0.25), 1e-6);
  EXPECT_NEAR(rows[1].sqnr_db(), 10 * std::log10(4 / 0.26), 1e-4);
}

TEST(OutputComparerTest, StringsAndIntegers) {
  Tensor x{.type = DataType::kString, .dims = {3}, .strings = {"a", "b", "c"}};
  Tensor y = x;
  EXPECT_EQ(CompareOne(x, y).sqnr_db(), kInf);
  y.strings[1] = "x";
  EXPECT_NEAR(CompareOne(x, y).sqnr_db(), 10 * std::log10(3.0), 1e-9);
  EXPECT_EQ(CompareOne(x, y).max_abs_error(), 1);
  EXPECT_EQ(
      CompareOne(testing::Int64s({2}, {5, -3}), testing::Int64s({2}, {5, -1})).max_abs_error(), 2);
}

TEST(OutputComparerTest, AnotherShapeOrAMissingOutputIsRejected) {
  OutputComparer comparer;
  const Tensor x = Floats({2}, {1, 2});
  EXPECT_EQ(ReasonOf(comparer.Add({{"y", x}}, {{"z", x}}, 0, 1)), ERROR_REASON_ARTIFACT_REJECTED);
  EXPECT_EQ(ReasonOf(comparer.Add({{"y", x}}, {{"y", Floats({1, 2}, {1, 2})}}, 0, 1)),
            ERROR_REASON_ARTIFACT_REJECTED);
  const Tensor text{.type = DataType::kString, .dims = {2}, .strings = {"a", "b"}};
  EXPECT_EQ(ReasonOf(comparer.Add({{"y", text}}, {{"y", x}}, 0, 1)),
            ERROR_REASON_ARTIFACT_REJECTED);
}

}  // namespace
}  // namespace modelpress
