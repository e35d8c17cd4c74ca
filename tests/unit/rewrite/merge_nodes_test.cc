// Nodes that compute the same become one; what may differ stays.
#include "core/rewrite/merge_nodes.h"

#include "core/model/graph.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/model_builder.h"

namespace modelpress {
namespace {

using testing::ModelFromText;

TEST(MergeEqualNodes, MergesChainsAndKeepsOutputs) {
  Model model = ModelFromText(R"(<ir_version: 9, opset_import: ["" : 18]>
    g (float[2, 3] x) => (float[2, 3] y, float[2, 3] z) {
      a = Abs (x)
      b = Abs (x)
      c = Sqrt (a)
      d = Sqrt (b)
      y = Add (c, d)
      z = Sqrt (b)
    })");
  EXPECT_EQ(MergeEqualNodes(model), 3);
  RemoveDead(model.mutable_proto());
  const auto& nodes = model.proto().graph().node();
  ASSERT_EQ(nodes.size(), 3);
  EXPECT_EQ(nodes[1].output(0), "z");  // an output keeps its name
  EXPECT_EQ(nodes[2].input(0), "z");
  EXPECT_EQ(nodes[2].input(1), "z");
}

TEST(MergeEqualNodes, TwoOutputsHaveTwoNodes) {
  Model model = ModelFromText(R"(<ir_version: 9, opset_import: ["" : 18]>
    g (float[2, 3] x) => (float[2, 3] y, float[2, 3] z) {
      y = Abs (x)
      z = Abs (x)
    })");
  EXPECT_EQ(MergeEqualNodes(model), 0);
  EXPECT_EQ(model.proto().graph().node_size(), 2);
}

TEST(MergeEqualNodes, AttributesAndRandomnessKeepNodesApart) {
  Model model = ModelFromText(R"(<ir_version: 9, opset_import: ["" : 18]>
    g (float[2, 3] x) => (float[2, 3] y, float[3, 2] z) {
      a = Softmax <axis = 0> (x)
      b = Softmax <axis = 1> (x)
      c = RandomUniformLike (x)
      d = RandomUniformLike (x)
      e = Add (a, b)
      f = Add (c, d)
      y = Add (e, f)
      z = Transpose <perm = [1, 0]> (x)
    })");
  EXPECT_EQ(MergeEqualNodes(model), 0);
}

TEST(MergeEqualNodes, BodiesReadWhatIsLeft) {
  Model model = ModelFromText(R"(<ir_version: 9, opset_import: ["" : 18]>
    g (float[2] x, bool p) => (float[2] y) {
      a = Abs (x)
      b = Abs (x)
      c = Add (a, b)
      t = If (p) <then_branch = then_graph () => (float[2] u) { u = Neg (b) },
                  else_branch = else_graph () => (float[2] v) { v = Exp (b) }>
      y = Add (c, t)
    })");
  EXPECT_EQ(MergeEqualNodes(model), 1);
  RemoveDead(model.mutable_proto());
  for (const onnx::NodeProto& node : model.proto().graph().node()) {
    if (node.op_type() != "If") continue;
    for (const auto& attribute : node.attribute()) EXPECT_EQ(attribute.g().node(0).input(0), "a");
  }
}

}  // namespace
}  // namespace modelpress
