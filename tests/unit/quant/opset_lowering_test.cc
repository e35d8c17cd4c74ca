// Nodes of newer operator versions in older words: the rewritten model computes the same.
#include "core/quant/opset_lowering.h"

#include <cstring>
#include <random>

#include "core/base/status.h"
#include "core/quant/opset_conversion.h"
#include "core/runtime/session.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/model_builder.h"

namespace modelpress {
namespace {

struct LoweringCase {
  const char* name;
  int64_t target;
  const char* graph;  // at opset 21
};

constexpr LoweringCase kCases[] = {
    {"reduction", 13, R"(g (float[2, 3, 4] x) => (float[2, 1, 1] y) <int64[2] axes = {-1, 1}> {
        y = ReduceMax (x, axes) })"},
    {"reduction of all", 13, R"(g (float[2, 3, 4] x) => (float y) {
        y = ReduceProd <keepdims = 0> (x) })"},
    {"equal parts", 13, R"(g (float[2, 3, 4] x) => (float[2, 3, 2] y, float[2, 3, 2] z) {
        y, z = Split <axis = -1, num_outputs = 2> (x) })"},
    {"parts with a smaller last one", 13,
     R"(g (float[2, 3, 4] x) => (float[2, 2, 4] y, float[2, 1, 4] z) {
        y, z = Split <axis = 1, num_outputs = 2> (x) })"},
    {"pads of some axes", 13, R"(g (float[2, 3, 4] x) => (float[2, 6, 4] y)
        <int64[2] pads = {1, 2}, float value = {0.5}, int64[1] axes = {-2}> {
        y = Pad (x, pads, value, axes) })"},
    {"sizes of some axes", 13, R"(g (float[2, 3, 4] x) => (float[2, 3, 7] y)
        <int64[1] sizes = {7}> {
        y = Resize <axes = [2], mode = "linear"> (x, , , sizes) })"},
    {"sizes of some axes, others free", 13, R"(g (float[N, 3, 4] x) => (float[N, 3, 7] y)
        <int64[1] sizes = {7}> {
        y = Resize <axes = [2], mode = "linear"> (x, , , sizes) })"},
    {"scales of some axes", 13, R"(g (float[2, 3, 4] x) => (float[2, 3, 8] y)
        <float[1] scales = {2.0}> {
        y = Resize <axes = [2], mode = "nearest"> (x, , scales) })"},
    {"gelu", 17, R"(g (float[2, 3, 4] x) => (float[2, 3, 4] y) { y = Gelu (x) })"},
    {"gelu by tanh", 13, R"(g (float[2, 3, 4] x) => (float[2, 3, 4] y) {
        y = Gelu <approximate = "tanh"> (x) })"},
    {"hard swish", 13, R"(g (float[2, 3, 4] x) => (float[2, 3, 4] y) { y = HardSwish (x) })"},
    {"mish", 13, R"(g (float[2, 3, 4] x) => (float[2, 3, 4] y) { y = Mish (x) })"},
    {"layer normalization", 13, R"(g (float[2, 3, 4] x) => (float[2, 3, 4] y)
        <float[4] scale = {1.0, 2.0, 0.5, -1.0}, float[4] bias = {0.0, 1.0, 2.0, 3.0}> {
        y = LayerNormalization <epsilon = 0.001> (x, scale, bias) })"},
    {"layer normalization of two axes", 13, R"(g (float[3, 1, 4] x) => (float[3, 1, 4] y)
        <float[1, 4] scale = {1.0, 2.0, 0.5, -1.0}> {
        y = LayerNormalization <axis = 1> (x, scale) })"},
    {"a part of the shape", 13, R"(g (float[2, 3, 4] x) => (int64[2] y) {
        y = Shape <start = 1> (x) })"},
    {"shape without zeros", 13, R"(g (float[2, 3, 4] x) => (float[4, 6] y)
        <int64[2] shape = {4, -1}> { y = Reshape <allowzero = 1> (x, shape) })"},
    {"average pool", 13, R"(g (float[1, 2, 4] x) => (float[1, 2, 3] y) {
        y = AveragePool <kernel_shape = [2], dilations = [1]> (x) })"},
    {"codes of 16 bits", 17, R"(g (float[2, 3, 4] x) => (float[2, 3, 4] y)
        <float scale = {0.0001}, int16 zero = {-5}> {
        codes = QuantizeLinear (x, scale, zero)
        y = DequantizeLinear (codes, scale, zero) })"},
    {"samples at points", 17, R"(g (float[1, 1, 3, 4] x) => (float[1, 1, 2, 2] y)
        <float[1, 2, 2, 2] grid = {-0.5, 0.25, 0.1, 0.9, 1.2, -1.0, 0.3, -0.4}> {
        y = GridSample <mode = "linear", align_corners = 1> (x, grid) })"},
    {"cubic samples", 17, R"(g (float[1, 1, 3, 4] x) => (float[1, 1, 2, 2] y)
        <float[1, 2, 2, 2] grid = {-0.5, 0.25, 0.1, 0.9, 1.2, -1.0, 0.3, -0.4}> {
        y = GridSample <mode = "cubic", padding_mode = "border"> (x, grid) })"},
    {"padding around", 13, R"(g (float[2, 3, 4] x) => (float[2, 6, 5] y)
        <int64[6] pads = {0, 1, 0, 0, 2, 1}> {
        y = Pad <mode = "wrap"> (x, pads) })"},
    {"in a branch", 13,
     R"(g (float[2, 3, 4] x) => (float[2, 3] y) <bool yes = {1}, int64[1] axes = {2}> {
        y = If (yes) <
          then_branch = a () => (float[2, 3] u) { u = ReduceMin <keepdims = 0> (x, axes) },
          else_branch = b () => (float[2, 3] v) { v = ReduceMax <keepdims = 0> (x, axes) }> })"},
};

std::vector<Tensor> OutputsOf(const Model& model) {
  const auto session = Session::Create(model, {});
  EXPECT_TRUE(session.ok()) << session.status();
  if (!session.ok()) return {};
  const auto inputs = (*session)->inputs();
  std::vector<int64_t> dims(inputs[0].dims.begin(), inputs[0].dims.end());
  for (int64_t& extent : dims) extent = extent < 0 ? 2 : extent;
  std::span<std::byte> room;
  Tensor x = Tensor::Make(DataType::kFloat, dims, &room).value();
  std::mt19937 generator(3);
  for (size_t at = 0; at + sizeof(float) <= room.size(); at += sizeof(float)) {
    const float value = static_cast<float>(generator()) / 2147483648.0f - 1.0f;
    std::memcpy(room.data() + at, &value, sizeof(value));
  }
  TensorMap map = {{inputs[0].name, x}};
  const auto made = (*session)->Run(map);
  EXPECT_TRUE(made.ok()) << made.status();
  std::vector<Tensor> outputs;
  if (!made.ok()) return outputs;
  for (const auto& output : (*session)->outputs()) outputs.push_back(made->at(output.name));
  return outputs;
}

TEST(OpsetLowering, ComputesTheSame) {
  for (const LoweringCase& test : kCases) {
    SCOPED_TRACE(test.name);
    Model model = testing::ModelFromText(
        std::string(R"(<ir_version: 10, opset_import: ["" : 21]> )") + test.graph);
    const std::vector<Tensor> wanted = OutputsOf(model);
    const absl::Status status = ConvertDefaultDomain(model, test.target);
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(model.opset(), test.target);
    const std::vector<Tensor> got = OutputsOf(model);
    ASSERT_EQ(got.size(), wanted.size());
    for (size_t o = 0; o < got.size(); ++o) {
      ASSERT_EQ(got[o].dims, wanted[o].dims);
      for (uint64_t i = 0; i < got[o].element_count(); ++i)
        EXPECT_NEAR(ElementAsDouble(got[o], i), ElementAsDouble(wanted[o], i), 1e-5);
    }
  }
}

// Which the runtime does not compute at the newer version.
TEST(OpsetLowering, ReducingNothingHandsOn) {
  Model model = testing::ModelFromText(R"(<ir_version: 10, opset_import: ["" : 21]>
      g (float[2, 3] x) => (float[2, 3] y) { y = ReduceMean <noop_with_empty_axes = 1> (x) })");
  ASSERT_TRUE(ConvertDefaultDomain(model, 13).ok());
  EXPECT_EQ(model.proto().graph().node(0).op_type(), "Identity");
}

TEST(OpsetLowering, LeavesWhatHasNoOlderMeaning) {
  const char* const graphs[] = {
      R"(g (float[1, 1, 4] x) => (float[1, 1, 2] y) <int64[1] sizes = {2}> {
           y = Resize <axes = [2], mode = "linear", antialias = 1> (x, , , sizes) })",
      R"(g (float[4] x, int64[1, 1] i, float[1] u) => (float[4] y) {
           y = ScatterND <reduction = "max"> (x, i, u) })",
      R"(g (float[4] x, int64[1] shape) => (float[N] y) { y = Reshape <allowzero = 1> (x, shape) })",
      R"(g (float[2, 2] x, int64[1] axes) => (float[N, 2] y) { y = ReduceMax (x, axes) })",
  };
  for (const char* graph : graphs) {
    Model model = testing::ModelFromText(
        std::string(R"(<ir_version: 10, opset_import: ["" : 21]> )") + graph);
    EXPECT_EQ(ReasonOf(ConvertDefaultDomain(model, 13)), ERROR_REASON_OPSET_UNSUPPORTED) << graph;
    EXPECT_EQ(model.opset(), 21);
  }
}

}  // namespace
}  // namespace modelpress
