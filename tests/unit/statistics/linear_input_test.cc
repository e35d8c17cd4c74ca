// Which value a weight is multiplied with.
#include "core/statistics/linear_input.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "modelpress/v1/recipe.pb.h"
#include "tests/support/model_builder.h"

namespace modelpress {
namespace {

// The value, as "graph:name", for the weight `w` [2, 2]; "" for none.
std::string InputOf(const std::string& nodes) {
  Model model = testing::ModelFromText(
      R"(<ir_version: 8, opset_import: ["" : 17]>
         g (float[2, 2] x, float[2, 2] z, bool c) => (float[2, 2] y)
         <float[2, 2] w = {1, 2, 3, 4}, float[2] s = {3, 1}, float[2] b = {4, 0}>
         { )" +
      nodes + " }");
  const GraphIndex index(model.mutable_proto());
  v1::WeightSelection selection;
  selection.set_min_elements(4);
  const auto found = SelectWeights(model, index, selection);
  EXPECT_TRUE(found.ok() && found->weights.size() == 1) << nodes;
  const auto key = LinearInput(index, GraphPaths(model.mutable_proto()), found->weights[0]);
  return key.has_value() ? key->graph + ":" + key->value : "";
}

TEST(LinearInputTest, Table) {
  for (const auto& [nodes, input] : {
           std::pair{"y = MatMul(x, w)", ":x"},
           {"t = Relu(x) y = Gemm(t, w)", ":t"},
           {"y = Gemm <transB = 1> (x, w)", ":x"},
           {"y = Gemm <transA = 1> (x, w)", ""},
           {"y = MatMul(w, x)", ""},
           {"a = MatMul(x, w) b0 = MatMul(x, w) y = Add(a, b0)", ":x"},
           {"a = MatMul(x, w) b0 = MatMul(z, w) y = Add(a, b0)", ""},
       }) {
    EXPECT_EQ(InputOf(nodes), input) << nodes;
  }
}

TEST(LinearInputTest, NormalizedEnergyIsTheSquareOfScaleAndBias) {
  for (const auto& [node, energy] : {
           std::pair{"n = LayerNormalization(x, s, b)", std::vector<float>{25, 1}},
           {"n = LayerNormalization(x, s)", std::vector<float>{9, 1}},
           {"n = Relu(x)", std::vector<float>{}},
       }) {
    Model model = testing::ModelFromText(std::string(R"(<ir_version: 8, opset_import: ["" : 17]>
         g (float[2, 2] x) => (float[2, 2] y)
         <float[2, 2] w = {1, 2, 3, 4}, float[2] s = {3, 1}, float[2] b = {4, 0}> { )") +
                                         node + " y = MatMul(n, w) }");
    const GraphIndex index(model.mutable_proto());
    v1::WeightSelection selection;
    selection.set_min_elements(4);
    const auto found = SelectWeights(model, index, selection);
    ASSERT_TRUE(found.ok() && found->weights.size() == 1);
    EXPECT_EQ(NormalizedEnergy(model, index, found->weights[0]), energy) << node;
  }
}

}  // namespace
}  // namespace modelpress
