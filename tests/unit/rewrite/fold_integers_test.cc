// Small integer arithmetic is done at once, in the main graph and inside of loops.
#include "core/rewrite/fold_integers.h"
#include "core/model/graph.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/model_builder.h"

namespace modelpress {
namespace {

using ::testing::ElementsAre;
using testing::FindInitializer;
using testing::ModelFromText;
using testing::Values;

TEST(FoldIntegers, ComputesShapes) {
  Model model = ModelFromText(R"(<ir_version: 9, opset_import: ["" : 18]>
    g (float[2, 6] x) => (float[3, 4] y)
    <int64[3] shape = {3, 2, 2}, int64 first = {0}, int64 two = {2}, int64[1] zero = {0}, int64[1] start = {1},
     int64[1] end = {9223372036854775807}> {
      rows = Gather (shape, first)
      row = Unsqueeze (rows, zero)
      tail = Slice (shape, start, end, zero)
      half = Gather (tail, first)
      four = Mul (half, two)
      column = Unsqueeze (four, zero)
      target = Concat <axis = 0> (row, column)
      y = Reshape (x, target)
    })");
  EXPECT_EQ(FoldIntegers(model), 7);
  RemoveDead(model.mutable_proto());
  ASSERT_EQ(model.proto().graph().node_size(), 1);
  const onnx::TensorProto* target = FindInitializer(model, "target");
  ASSERT_NE(target, nullptr);
  EXPECT_THAT(Values(model, *target), ElementsAre(3, 4));
}

TEST(FoldIntegers, LeavesWhatIsNotCertain) {
  Model model = ModelFromText(R"(<ir_version: 9, opset_import: ["" : 18]>
    g (int64[1] x) => (int64[1] y, bool[1] z, int64[1] w)
    <int64[1] one = {1}, int64[1] huge = {9223372036854775807}, int64[1] five = {5}, int64[2] pair = {1, 2}> {
      y = Add (x, one)
      over = Add (huge, one)
      far = Gather (pair, five)
      s = Add (over, far)
      z = Less (s, x)
      w = Mul (one, five)
    })");
  EXPECT_EQ(FoldIntegers(model), 0);
}

TEST(FoldIntegers, SeesConstantsOfTheMainGraphInBranches) {
  Model model = ModelFromText(R"(<ir_version: 9, opset_import: ["" : 18]>
    g (bool c) => (bool y) <int64 a = {1}, int64 b = {2}> {
      y = If (c) <then_branch = p () => (bool t) { l = Less (a, b) t = Not (l) },
                  else_branch = q () => (bool e) { e = Less (b, a) }> })");
  EXPECT_EQ(FoldIntegers(model), 1);
}

}  // namespace
}  // namespace modelpress
