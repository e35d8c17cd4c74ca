// Which constants count as weights, where they may hide, and why others are left alone.
#include "core/quant/weight_selection.h"

#include <map>

#include "core/base/format_string.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "modelpress/v1/recipe.pb.h"
#include "tests/support/model_builder.h"

namespace modelpress {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

TEST(GlobTest, Table) {
  const struct {
    std::string_view pattern, text;
    bool matches;
  } kCases[] = {
      {"*", "", true},
      {"", "", true},
      {"", "a", false},
      {"conv*", "conv1.w", true},
      {"conv*", "xconv", false},
      {"*.w", "a.b.w", true},
      {"a?c", "abc", true},
      {"a?c", "ac", false},
      {"[a-c]x", "bx", true},
      {"[!a-c]x", "bx", false},
      {"[!a-c]x", "dx", true},
      {"[", "[", true},
      {"a**b", "ab", true},
      {"*a*b*", "xxaxxbxx", true},
      {"*a*b", "xxaxxbxx", false},
  };
  for (const auto& c : kCases) EXPECT_EQ(GlobMatches(c.pattern, c.text), c.matches) << c.pattern;
}

TEST(GlobTest, ManyStarsDoNotExplode) {
  std::string pattern;
  for (int i = 0; i < 200; ++i) pattern += "*a";
  EXPECT_FALSE(GlobMatches(pattern + "b", std::string(2000, 'a')));
}

// Axis of the weight `w` in a graph with one node; -1 for none, -2 if it is no weight.
int AxisOf(std::string_view node, std::initializer_list<int64_t> dims) {
  const std::string text = std::string(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[a, b, c] x, float[a, b, c] h, int64[n] i) => (float[k, l, m] y) { y = )") +
                           std::string(node) + " }";
  onnx::ModelProto proto = testing::ParseProto(text);
  onnx::TensorProto& tensor = *proto.mutable_graph()->add_initializer();
  tensor.set_name("w");
  size_t count = 1;
  for (const int64_t extent : dims) {
    tensor.add_dims(extent);
    count *= extent;
  }
  tensor.set_data_type(onnx::TensorProto::FLOAT);
  tensor.set_raw_data(std::string(count * 4, '\0'));
  auto model = testing::ReadModel(proto);
  EXPECT_TRUE(model.ok()) << model.status();
  const GraphIndex index(model->mutable_proto());
  v1::WeightSelection selection;
  selection.set_min_elements(1);
  auto found = SelectWeights(*model, index, selection);
  EXPECT_TRUE(found.ok());
  if (found->weights.empty()) return -2;
  return found->weights[0].channel_axis.has_value()
             ? static_cast<int>(*found->weights[0].channel_axis)
             : -1;
}

TEST(SelectWeightsTest, ChannelAxisByOperator) {
  EXPECT_EQ(AxisOf("Conv(x, w)", {4, 3, 2, 2}), 0);
  EXPECT_EQ(AxisOf("ConvTranspose(x, w)", {4, 3, 2, 2}), 1);
  EXPECT_EQ(AxisOf("Gemm(x, w)", {4, 3}), 1);
  EXPECT_EQ(AxisOf("Gemm <transB = 1> (x, w)", {4, 3}), 0);
  EXPECT_EQ(AxisOf("Gemm(w, x)", {4, 3}), 0);
  EXPECT_EQ(AxisOf("MatMul(x, w)", {4, 3}), 1);
  EXPECT_EQ(AxisOf("MatMul(x, w)", {2, 4, 3}), 2);
  EXPECT_EQ(AxisOf("MatMul(w, x)", {2, 4, 3}), 1);
  EXPECT_EQ(AxisOf("MatMul(x, w)", {4}), -1);
  EXPECT_EQ(AxisOf("Gather(w, i)", {4, 3}), 0);
  EXPECT_EQ(AxisOf("Gather <axis = -1> (w, i)", {4, 3}), 1);
  EXPECT_EQ(AxisOf("Add(x, w)", {4, 3}), -2);
  EXPECT_EQ(AxisOf("Conv(x, h, w)", {4}), -2);
}

// The same for nodes of which the last makes y.
int AxisBehind(std::string_view nodes, std::initializer_list<int64_t> dims) {
  return AxisOf(std::string("Identity(x) ") + std::string(nodes), dims);
}

TEST(SelectWeightsTest, FollowsOperatorsThatOnlyMoveValues) {
  EXPECT_EQ(AxisBehind("t = Transpose(w) z = MatMul(x, t)", {4, 3}), 0);
  EXPECT_EQ(AxisBehind("t = Transpose <perm = [2, 0, 1]> (w) z = Conv(x, t)", {4, 3, 2}), 2);
  // Gates in another order, stacked: torch's LSTM as it is exported.
  EXPECT_EQ(AxisBehind(R"(
      a = Constant <value = int64[1] {0}> ()
      b = Constant <value = int64[1] {2}> () c = Constant <value = int64[1] {4}> ()
      s1 = Slice(w, a, b, a) s2 = Slice(w, b, c, a) j = Concat <axis = 0> (s2, s1)
      u = Unsqueeze(j, a) z = LSTM <hidden_size = 1> (x, u, h))",
                       {4, 3}),
            0);
  EXPECT_EQ(AxisBehind(R"(a = Constant <value = int64[2] {0, -1}> ()
                          s = Squeeze(w, a) z = MatMul(x, s))",
                       {1, 4, 3, 1}),
            2);
  // Axes are mixed, or two ways disagree: a weight, without an axis.
  EXPECT_EQ(AxisBehind(R"(a = Constant <value = int64[2] {3, 4}> ()
                          s = Reshape(w, a) z = MatMul(x, s))",
                       {4, 3}),
            -1);
  EXPECT_EQ(AxisBehind("t = Transpose(w) j = Concat <axis = 0> (t, w) z = MatMul(x, j)", {4, 4}),
            -1);
  EXPECT_EQ(AxisBehind("t = Transpose(w) z = MatMul(x, t) z2 = MatMul(x, w)", {4, 4}), -1);
  // A tied embedding: rows on one side, columns of the transposed table on the other.
  EXPECT_EQ(AxisBehind("e = Gather(w, i) t = Transpose(w) z = MatMul(x, t)", {4, 3}), 0);
  // Stacked with something that is computed it is no weight; nor where it is only added.
  EXPECT_EQ(AxisBehind("j = Concat <axis = 0> (x, w) z = MatMul(j, h)", {4, 3, 2}), -2);
  EXPECT_EQ(AxisBehind("t = Transpose(w) z = Add(x, t)", {4, 3}), -2);
}

TEST(SelectWeightsTest, ChainsAcrossSubgraphsAndToOutputs) {
  Model model = testing::ModelFromText(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (bool c, float[2, 2] x) => (float[2, 2] y, float[2, 2] moved)
      <float[2, 2] deep = {1, 2, 3, 4}, float[2, 2] shown = {1, 2, 3, 4}>
      { turned = Transpose(deep)
        moved = Transpose(shown)
        y = If (c) <
          then_branch = t () => (float[2, 2] a) { i = Identity(turned) a = MatMul(x, i) },
          else_branch = e () => (float[2, 2] b) { b = MatMul(x, moved) }> })");
  const GraphIndex index(model.mutable_proto());
  v1::WeightSelection selection;
  selection.set_min_elements(1);
  const auto found = SelectWeights(model, index, selection);
  ASSERT_TRUE(found.ok()) << found.status();
  ASSERT_EQ(found->weights.size(), 1u);
  EXPECT_EQ(found->weights[0].name, "deep");
  EXPECT_EQ(found->weights[0].channel_axis, 0u);
  ASSERT_EQ(found->weights[0].uses.size(), 1u);
  EXPECT_EQ(found->weights[0].uses[0].node->op_type(), "Transpose");
  EXPECT_EQ(found->weights[0].reader(), "a");
  ASSERT_EQ(found->skips.size(), 1u);
  EXPECT_EQ(found->skips[0].tensor(), "shown");
  EXPECT_EQ(found->skips[0].reason(), "graph_output");
}

// 3^40 ways, each value followed once.
TEST(SelectWeightsTest, ManyWaysDoNotExplode) {
  std::string nodes = "v0 = Identity(w) ";
  for (int i = 0; i < 40; ++i) {
    nodes += FormatString(
        "a{0} = Identity(v{0}) b{0} = Identity(v{0}) c{0} = Identity(v{0}) "
        "v{1} = Concat <axis = 0> (a{0}, b{0}, c{0}) ",
        i, i + 1);
  }
  EXPECT_EQ(AxisBehind(nodes + "z = MatMul(x, v40)", {4, 3}), 1);
}

TEST(SelectWeightsTest, FindsHiddenWeightsAndNamesEveryReason) {
  Model model = testing::ModelFromText(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (bool c, float[2, 2] x) => (float[2, 2] y, float[2, 2] out)
      <float[2, 2] outer = {1, 2, 3, 4}, float[2, 2] unread = {1, 2, 3, 4},
       float[2, 2] out = {1, 2, 3, 4}, float[2, 2] bias = {1, 2, 3, 4}, float[1, 2] small = {1, 2},
       float[2, 2] frozen = {1, 2, 3, 4}, double[2, 2] wide = {1, 2, 3, 4}>
      { y = If (c) <
          then_branch = t () => (float[2, 2] a) {
            inner = Constant <value = float[2, 2] {1, 2, 3, 4}> ()
            m = MatMul(x, inner)
            a = MatMul(m, outer)
          },
          else_branch = e () => (float[2, 2] b) {
            m1 = MatMul(x, outer)
            m2 = MatMul(m1, out)
            m3 = MatMul(m2, frozen)
            b = Add(m3, bias)
          }>
        s = MatMul(small, x)
        d = Cast <to = 11> (x)
        w = MatMul(d, wide) })");
  const GraphIndex index(model.mutable_proto());
  v1::WeightSelection selection;
  selection.set_min_elements(3);
  selection.add_exclude("fro*");
  const auto found = SelectWeights(model, index, selection);
  ASSERT_TRUE(found.ok()) << found.status();
  std::map<std::string, size_t> weights;
  for (const CandidateWeight& weight : found->weights) weights[weight.name] = weight.uses.size();
  EXPECT_THAT(weights, ElementsAre(Pair("inner", 1), Pair("outer", 2)));
  std::map<std::string, std::string> skips;
  for (const auto& skip : found->skips) skips[skip.tensor()] = skip.reason();
  EXPECT_THAT(skips, ElementsAre(Pair("bias", "excluded"), Pair("frozen", "excluded"),
                                 Pair("out", "graph_output"), Pair("small", "too_small"),
                                 Pair("wide", "not_float")));
}

TEST(SelectWeightsTest, OldModelsDeclareInitializersAsInputs) {
  for (const int ir_version : {3, 8}) {
    Model model = testing::ModelFromText(R"(<ir_version: 8, opset_import: ["" : 9]>
        g (float[2, 2] x, float[2, 2] w) => (float[2, 2] y) { y = MatMul(x, w) })");
    onnx::TensorProto& tensor = *model.mutable_proto().mutable_graph()->add_initializer();
    tensor.set_name("w");
    const int64_t dims[] = {2, 2};
    const std::vector<std::byte> bytes(16);
    ASSERT_TRUE(model.SetInline(&tensor, DataType::kFloat, dims, bytes).ok());
    model.mutable_proto().set_ir_version(ir_version);
    SeparateInitializersFromInputs(model);
    const GraphIndex index(model.mutable_proto());
    v1::WeightSelection selection;
    selection.set_min_elements(1);
    const auto found = SelectWeights(model, index, selection);
    ASSERT_TRUE(found.ok());
    // From version 4 on a caller may really replace it.
    EXPECT_EQ(found->weights.size(), ir_version == 3 ? 1u : 0u);
    EXPECT_EQ(found->skips.size(), ir_version == 3 ? 0u : 1u);
    EXPECT_EQ(model.proto().graph().input_size(), ir_version == 3 ? 1 : 2);
  }
}

}  // namespace
}  // namespace modelpress
