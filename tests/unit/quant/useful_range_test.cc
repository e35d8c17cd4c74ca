// Where the readers of a value saturate.
#include "core/quant/useful_range.h"

#include <limits>

#include "gtest/gtest.h"
#include "tests/support/model_builder.h"

namespace modelpress {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Case {
  std::string name;
  // Nodes that read v.
  std::string readers;
  std::optional<ValueRange> expected;
};

class UsefulRangeTest : public ::testing::TestWithParam<Case> {};

TEST_P(UsefulRangeTest, IsThatOfTheReaders) {
  Model model = testing::ModelFromText(
      R"(<ir_version: 8, opset_import: ["" : 14]> g (float[1, 2] x) => (float[1, 2] y)
         <float low = {-1}, float high = {6}> { v = Neg(x) )" +
      GetParam().readers + " }");
  const GraphIndex index(model.mutable_proto());
  const auto ranges = UsefulRanges(model, index);
  const auto found = ranges.find({"", "v"});
  ASSERT_EQ(found != ranges.end(), GetParam().expected.has_value());
  if (found == ranges.end()) return;
  EXPECT_NEAR(found->second.min, GetParam().expected->min, 1e-5);
  if (GetParam().expected->max == kInfinity) {
    EXPECT_EQ(found->second.max, kInfinity);
  } else {
    EXPECT_NEAR(found->second.max, GetParam().expected->max, 1e-5);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Readers, UsefulRangeTest,
    ::testing::Values(
        Case{"Relu", "y = Relu(v)", ValueRange{0, kInfinity}},
        Case{"Clip", "y = Clip(v, low, high)", ValueRange{-1, 6}},
        Case{"HalfAClip", "y = Clip(v, low)", ValueRange{-1, kInfinity}},
        Case{"HardSwish", "y = HardSwish(v)", ValueRange{-3, kInfinity}},
        Case{"HardSigmoid", "y = HardSigmoid<alpha = 0.25, beta = 0.5>(v)", ValueRange{-2, 2}},
        Case{"HardSwishInTwo", "s = HardSigmoid<alpha = 0.25, beta = 0.5>(v) y = Mul(s, v)",
             ValueRange{-2, kInfinity}},
        Case{"TheWidestOfSeveral", "a = Relu(v) b = Clip(v, low, high) y = Add(a, b)",
             ValueRange{-1, kInfinity}},
        Case{"OneThatTellsAllApart", "a = Relu(v) y = Add(a, v)", std::nullopt},
        Case{"AMulWithSomethingElse", "s = HardSigmoid(x) y = Mul(s, v)", std::nullopt},
        Case{"ABoundThatIsNoConstant", "m = ReduceMin<keepdims = 0>(x) y = Clip(v, m)",
             std::nullopt},
        Case{"TheSecondInput", "y = Sub(x, v)", std::nullopt}),
    [](const auto& info) { return info.param.name; });

TEST(UsefulRangeTest, OutputsOfTheGraphKeepEverything) {
  Model model = testing::ModelFromText(
      R"(<ir_version: 8, opset_import: ["" : 14]> g (float[1] x) => (float[1] v, float[1] y) {
         v = Neg(x) y = Relu(v) })");
  const GraphIndex index(model.mutable_proto());
  EXPECT_FALSE(UsefulRanges(model, index).contains({"", "v"}));
}

}  // namespace
}  // namespace modelpress
