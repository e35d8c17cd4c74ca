// Moving Transposes: fewer of them, the same numbers.
#include <cmath>
#include <random>

#include "core/model/graph.h"
#include "core/rewrite/layout.h"
#include "core/runtime/session.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/model_builder.h"
#include "tests/support/test_job.h"

namespace modelpress {
namespace {

using ::testing::ElementsAreArray;
using testing::ModelFromText;
using testing::TestJob;

TensorMap Inputs(const Model& model) {
  std::mt19937 random(3);
  TensorMap inputs;
  for (const ValueInfo& input : DeclaredInputs(model)) {
    std::span<std::byte> bytes;
    Tensor tensor = Tensor::Make(input.type, input.dims, &bytes).value();
    for (uint64_t i = 0; i < tensor.element_count(); ++i) {
      reinterpret_cast<float*>(bytes.data())[i] =
          static_cast<float>(random()) / 4294967296.0f - 0.3f;
    }
    inputs.emplace(input.name, std::move(tensor));
  }
  return inputs;
}

TensorMap Outputs(const Model& model) {
  const auto session = Session::Create(model, {});
  EXPECT_TRUE(session.ok()) << session.status();
  if (!session.ok()) return {};
  auto outputs = (*session)->Run(Inputs(model));
  EXPECT_TRUE(outputs.ok()) << outputs.status();
  return outputs.ok() ? *std::move(outputs) : TensorMap();
}

struct LayoutCase {
  const char* what;
  const char* text;
  std::vector<std::string> after;
};

constexpr const char* kHead = R"(<ir_version: 9, opset_import: ["" : 18]>
)";

TEST(Layout, RemovesWhatCancels) {
  const std::vector<LayoutCase> cases = {
      {"axes of 32 bits stay so",
       R"(g (float[1, 2, 3, 4] x) => (float[1, 2, 3, 2] y)
          <int32[1] start = {1}, int32[1] end = {3}, int32[1] axis = {1}> {
            a = Transpose <perm = [0, 3, 1, 2]> (x)
            b = Slice (a, start, end, axis)
            c = Relu (b)
            y = Transpose <perm = [0, 2, 3, 1]> (c) })",
       {"Slice", "Relu"}},
      {"two that undo each other",
       R"(g (float[1, 2, 3, 4] x) => (float[1, 2, 3, 4] y) {
            a = Transpose <perm = [0, 3, 1, 2]> (x)
            b = Relu (a)
            y = Transpose <perm = [0, 2, 3, 1]> (b) })",
       {"Relu"}},
      {"two that make one",
       R"(g (float[2, 3, 4] x) => (float[4, 3, 2] y) {
            a = Transpose <perm = [2, 0, 1]> (x)
            y = Transpose <perm = [0, 2, 1]> (a) })",
       {"Transpose"}},
      {"between convolutions, with a broadcast vector",
       R"(g (float[1, 2, 5, 5] x) => (float[1, 2, 1, 1] y)
          <float[3, 2, 3, 3] w = {0.1, 0.2, 0.3, 0.1, 0.2, 0.3, 0.1, 0.2, 0.3, 0.1, 0.2, 0.3, 0.1, 0.2, 0.3, 0.1, 0.2, 0.3,
                                  0.1, 0.2, 0.3, 0.1, 0.2, 0.3, 0.1, 0.2, 0.3, 0.1, 0.2, 0.3, 0.1, 0.2, 0.3, 0.1, 0.2, 0.3,
                                  0.1, 0.2, 0.3, 0.1, 0.2, 0.3, 0.1, 0.2, 0.3, 0.1, 0.2, 0.3, 0.1, 0.2, 0.3, 0.1, 0.2, 0.3},
           float[3] v = {1, -2, 3}, float[2, 3, 3, 3] w2 = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4,
                                  5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9}> {
            a = Conv (x, w)
            b = Transpose <perm = [0, 2, 3, 1]> (a)
            c = Add (b, v)
            d = Transpose <perm = [0, 3, 1, 2]> (c)
            y = Conv (d, w2) })",
       {"Conv", "Add", "Conv"}},
      {"axes of Concat, Softmax, Pad and ReduceMean follow",
       R"(g (float[1, 2, 3, 4] x) => (float[1, 4, 5, 6] y, float[1, 4] m)
          <int64[8] pads = {0, 1, 2, 0, 0, 1, 1, 0}, int64[2] axes = {1, 2}> {
            a = Transpose <perm = [0, 2, 3, 1]> (x)
            b = Concat <axis = 3> (a, a)
            c = Softmax <axis = 3> (b)
            d = Pad (c, pads)
            m = ReduceMean <keepdims = 0> (b, axes)
            y = Transpose <perm = [0, 3, 1, 2]> (d) })",
       {"Concat", "Softmax", "Pad", "ReduceMean"}},
      {"Slice and Split by their axes",
       R"(g (float[1, 4, 3, 5] x) => (float[1, 2, 3, 4] y, float[1, 2, 3, 4] z)
          <int64[1] starts = {1}, int64[1] ends = {5}, int64[1] axes = {2}> {
            a = Transpose <perm = [0, 2, 3, 1]> (x)
            b = Slice (a, starts, ends, axes)
            c, d = Split <axis = 3, num_outputs = 2> (b)
            y = Transpose <perm = [0, 3, 1, 2]> (c)
            z = Transpose <perm = [0, 3, 1, 2]> (d) })",
       {"Slice", "Split"}},
      {"a flattened pooled image needs no order",
       R"(g (float[2, 3, 4, 4] x) => (float[2, 3] y) <int64[2] shape = {2, 3}> {
            a = GlobalAveragePool (x)
            b = Transpose <perm = [0, 2, 3, 1]> (a)
            y = Reshape (b, shape) })",
       {"GlobalAveragePool", "Reshape"}},
      {"before a dense layer its weights follow",
       R"(g (float[2, 3, 1, 2] x) => (float[2, 2] y, float[2, 2] z)
          <int64[2] shape = {-1, 6}, float[2, 6] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12},
           float[6, 2] v = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}> {
            a = MaxPool <kernel_shape = [1, 1]> (x)
            b = Transpose <perm = [0, 2, 3, 1]> (a)
            c = Reshape (b, shape)
            y = Gemm <transB = 1> (c, w)
            z = MatMul (c, v) })",
       {"MaxPool", "Reshape", "Gemm", "MatMul"}},
      {"an image that is flattened whole keeps its Transpose",
       R"(g (float[2, 3, 4, 4] x) => (float[2, 48] y) <int64[2] shape = {2, 48}> {
            a = MaxPool <kernel_shape = [1, 1]> (x)
            b = Transpose <perm = [0, 2, 3, 1]> (a)
            y = Reshape (b, shape) })",
       {"MaxPool", "Transpose", "Reshape"}},
      {"a one-dimensional convolution as one of two dimensions",
       R"(g (float[1, 3, 1, 8] x) => (float[1, 3, 1, 8] y) <int64[3] flat = {1, 8, 3}, int64[4] image = {1, 1, 8, 3}> {
            a = MaxPool <kernel_shape = [1, 1]> (x)
            b = Transpose <perm = [0, 2, 3, 1]> (a)
            c = Reshape (b, flat)
            d = Tanh (c)
            e = Reshape (d, image)
            f = Transpose <perm = [0, 3, 1, 2]> (e)
            y = MaxPool <kernel_shape = [1, 1]> (f) })",
       {"MaxPool", "Reshape", "Tanh", "Reshape", "MaxPool"}},
      {"a scale per channel between quantized values",
       R"(g (float[1, 2, 3, 3] x) => (float[1, 2, 3, 3] y) <float[2] s = {0.1, 0.2}, int8[2] z = {0, 0}> {
            a = Transpose <perm = [0, 2, 3, 1]> (x)
            b = QuantizeLinear <axis = 3> (a, s, z)
            c = DequantizeLinear <axis = 3> (b, s, z)
            y = Transpose <perm = [0, 3, 1, 2]> (c) })",
       {"QuantizeLinear", "DequantizeLinear"}},
      {"where rows are multiplied the order has to be there",
       R"(g (float[1, 2, 3, 4] x) => (float[1, 3, 4, 5] y) <float[2, 5] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}> {
            a = Transpose <perm = [0, 2, 3, 1]> (x)
            b = Relu (a)
            y = MatMul (b, w) })",
       {"Transpose", "Relu", "MatMul"}},
      {"a branch that reads the value keeps its order",
       R"(g (float[1, 2, 2, 2] x) => (float[1, 2, 2, 2] y, float[1, 2, 2, 2] z) <bool t = {1}> {
            a = Transpose <perm = [0, 2, 3, 1]> (x)
            b = Relu (a)
            y = Transpose <perm = [0, 3, 1, 2]> (b)
            z = If (t) <then_branch = p () => (float[1, 2, 2, 2] u) { u = Neg (b) },
                        else_branch = q () => (float[1, 2, 2, 2] v) { v = Abs (b) }> })",
       {"Relu", "Transpose", "If"}},
  };
  for (const LayoutCase& test : cases) {
    TestJob job;
    Model model = ModelFromText(std::string(kHead) + test.text);
    const TensorMap before = Outputs(model);
    WeightArena arena(&job.scratch());
    const absl::Status status = OptimizeLayout(model, arena, job.context());
    ASSERT_TRUE(status.ok()) << test.what << ": " << status;
    RemoveDead(model.mutable_proto());
    std::vector<std::string> types;
    for (const auto& node : model.proto().graph().node()) types.push_back(node.op_type());
    EXPECT_THAT(types, ElementsAreArray(test.after)) << test.what;
    const TensorMap after = Outputs(model);
    for (const auto& [name, tensor] : before) {
      ASSERT_TRUE(after.contains(name)) << test.what;
      const Tensor& other = after.at(name);
      ASSERT_EQ(tensor.dims, other.dims) << test.what;
      for (uint64_t i = 0; i < tensor.element_count(); ++i) {
        EXPECT_NEAR(ElementAsDouble(tensor, i), ElementAsDouble(other, i), 1e-5)
            << test.what << " " << name << " " << i;
      }
    }
  }
}

}  // namespace
}  // namespace modelpress
