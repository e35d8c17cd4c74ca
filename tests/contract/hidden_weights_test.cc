// Weights that are not plain float32 initializers beside their operator: every pass on weights
// finds them, and the result runs.
#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <set>

#include "core/measure/comparison.h"
#include "core/model/graph.h"
#include "core/passes/pass.h"
#include "core/quant/float16.h"
#include "core/recipe/recipe_reader.h"
#include "core/runtime/session.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/model_builder.h"

namespace modelpress {
namespace {

using ::testing::Contains;
using testing::TestJob;

// Adds an initializer of normal values in any floating-point type.
void AddWeight(onnx::ModelProto* model, const std::string& name, const std::vector<int64_t>& dims,
               DataType type = DataType::kFloat) {
  std::mt19937 random(static_cast<uint32_t>(name.size()));
  std::normal_distribution<float> normal(0, 0.2f);
  onnx::TensorProto& tensor = *model->mutable_graph()->add_initializer();
  tensor.set_name(name);
  tensor.set_data_type(static_cast<int>(type));
  uint64_t count = 1;
  for (const int64_t extent : dims) {
    tensor.add_dims(extent);
    count *= static_cast<uint64_t>(extent);
  }
  for (uint64_t i = 0; i < count; ++i) {
    const float value = normal(random);
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    const uint16_t half = type == DataType::kFloat16 ? FloatToHalf(value) : bits >> 16;
    if (type == DataType::kFloat) {
      tensor.mutable_raw_data()->append(reinterpret_cast<const char*>(&value), sizeof(value));
    } else {
      tensor.mutable_raw_data()->append(reinterpret_cast<const char*>(&half), sizeof(half));
    }
  }
}

struct Case {
  std::string name;
  onnx::ModelProto proto;
  std::set<std::string> weights;  // must change; inlined ones have new names
  bool is_half = false;
};

std::vector<Case> Cases() {
  std::vector<Case> cases;
  // As torch exports an LSTM whose gates are in another order.
  cases.push_back({"lstm behind slices",
                   testing::ParseProto(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[3, 1, 16] x) => (float[3, 1, 1, 16] y)
      { a = Constant <value = int64[1] {0}> ()
        b = Constant <value = int64[1] {16}> ()
        c = Constant <value = int64[1] {64}> ()
        w1 = Slice(w, a, b, a) w2 = Slice(w, b, c, a) w3 = Concat <axis = 0> (w2, w1)
        w4 = Unsqueeze(w3, a) r1 = Transpose(r) r2 = Unsqueeze(r1, a)
        y = LSTM <hidden_size = 16> (x, w4, r2) })"),
                   {"w", "r"}});
  AddWeight(&cases.back().proto, "w", {64, 16});
  AddWeight(&cases.back().proto, "r", {16, 64});
  cases.push_back({"float16",
                   testing::ParseProto(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[3, 16] x) => (float[3, 16] y)
      { h = Cast <to = 10> (x)
        m = MatMul(h, w)
        i = Constant <value = int64[3] {2, 0, 5}> ()
        e = Gather(table, i)
        s = Add(m, e)
        y = Cast <to = 1> (s) })"),
                   {"w", "table"},
                   true});
  AddWeight(&cases.back().proto, "w", {16, 16}, DataType::kFloat16);
  AddWeight(&cases.back().proto, "table", {8, 16}, DataType::kFloat16);
  cases.push_back({"bfloat16 that is cast",
                   testing::ParseProto(R"(
      <ir_version: 8, opset_import: ["" : 13]>
      g (float[3, 16] x) => (float[3, 16] y)
      { f = Cast <to = 1> (w)
        y = MatMul(x, f) })"),
                   {"w"},
                   true});
  AddWeight(&cases.back().proto, "w", {16, 16}, DataType::kBfloat16);
  // One function is called twice and holds a scalar, the other once and holds a weight.
  cases.push_back({"in functions",
                   testing::ParseProto(R"(
      <ir_version: 8, opset_import: ["" : 13, "own" : 1]>
      g (float[3, 2] x) => (float[3, 2] y)
      { a = own.half(x)
        b = own.dense(a)
        y = own.half(b) }
      <domain: "own", opset_import: ["" : 13]>
      half (x) => (y)
      { two = Constant <value = float {2}> ()
        y = Div(x, two) }
      <domain: "own", opset_import: ["" : 13]>
      dense (x) => (y)
      { w = Constant <value = float[2, 8] {1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9,
                                           0.2, 0.4, -0.6, 0.8, 1.5, -2.5, 0.3, -0.7}> ()
        v = Constant <value = float[8, 2] {1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9,
                                           0.2, 0.4, -0.6, 0.8, 1.5, -2.5, 0.3, -0.7}> ()
        h = MatMul(x, w)
        y = MatMul(h, v) })"),
                   {}});
  return cases;
}

TensorMap Infer(const Model& model) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  TensorMap inputs;
  for (const ValueInfo& input : DeclaredInputs(model)) {
    std::span<std::byte> bytes;
    auto tensor = Tensor::Make(input.type, input.dims, &bytes);
    EXPECT_TRUE(tensor.ok()) << tensor.status();
    auto* floats = reinterpret_cast<float*>(bytes.data());
    for (uint64_t i = 0; i < tensor->element_count(); ++i) floats[i] = normal(random);
    inputs.emplace(input.name, *std::move(tensor));
  }
  auto session = Session::Create(model, {});
  EXPECT_TRUE(session.ok()) << session.status();
  if (!session.ok()) return {};
  auto outputs = (*session)->Run(inputs);
  EXPECT_TRUE(outputs.ok()) << outputs.status();
  return outputs.ok() ? *std::move(outputs) : TensorMap{};
}

TEST(HiddenWeightsTest, EveryPassFindsThem) {
  const std::map<std::string, double> least_db = {
      {"quantize_weights: {weights: {min_elements: 16}}", 30},
      {"quantize_weights: {granularity: per_tensor, weights: {min_elements: 16}}", 30},
      {"quantize_dead_zone: {weights: {min_elements: 16}}", 25},
      {"prune_magnitude: {sparsity_per_tensor: 0.2, weights: {min_elements: 16}}", 10},
      {"prune_magnitude: {sparsity_global: 0.2, weights: {min_elements: 16}}", 10},
      {"convert_float16: {}", 45},
  };
  for (const Case& c : Cases()) {
    for (const auto& [options, db] : least_db) {
      PassStep step;
      ASSERT_TRUE(ReadYaml(options, &step).ok());
      if (c.is_half && step.has_convert_float16()) continue;
      SCOPED_TRACE(c.name + ", " + options);
      auto model = testing::ReadModel(c.proto);
      ASSERT_TRUE(model.ok()) << model.status();
      const TensorMap before = Infer(*model);
      TestJob job(2);
      const Model original = model->Clone();
      WeightArena arena(&job.scratch());
      PassContext context;
      context.job = &job.context();
      context.original = &original;
      context.arena = &arena;
      const auto pass = PassRegistry::Get().ForStep(step);
      ASSERT_TRUE(pass.ok());
      const auto report = (*pass)->Run(*model, step, context);
      ASSERT_TRUE(report.ok()) << report.status();
      std::set<std::string> changed;
      for (const Change& change : report->changes()) changed.insert(change.tensor());
      for (const std::string& weight : c.weights) EXPECT_THAT(changed, Contains(weight));
      EXPECT_GE(report->changes_size(), 1);
      if (!step.has_prune_magnitude()) {
        EXPECT_LT(report->weight_bytes_after(), report->weight_bytes_before());
      }
      EXPECT_EQ(model->proto().functions_size(), 0);
      OutputComparer comparer;
      ASSERT_TRUE(comparer.Add(before, Infer(*model), 0, 1).ok());
      for (const OutputComparison& row : comparer.Finish()) EXPECT_GE(row.sqnr_db(), db);
    }
  }
}

// A function with a large weight and two callers: inlined, the file would hold the weight twice.
TEST(HiddenWeightsTest, SharedFunctionsAreNotCopied) {
  onnx::ModelProto proto = testing::ParseProto(R"(
      <ir_version: 8, opset_import: ["" : 13, "own" : 1]>
      g (float[1, 1024] x) => (float[1, 1024] y) { a = own.dense(x) y = own.dense(a) }
      <domain: "own", opset_import: ["" : 13]>
      dense (x) => (y) { w = Constant <value = float[1] {1}> () y = MatMul(x, w) })");
  onnx::TensorProto& weight =
      *proto.mutable_functions(0)->mutable_node(0)->mutable_attribute(0)->mutable_t();
  weight.clear_float_data();
  weight.clear_dims();
  weight.add_dims(1024);
  weight.add_dims(1024);
  weight.mutable_raw_data()->assign(4 << 20, '\x3c');
  auto model = testing::ReadModel(proto);
  ASSERT_TRUE(model.ok()) << model.status();
  PassStep step;
  ASSERT_TRUE(ReadYaml("{quantize_weights: {}, allow_no_change: true}", &step).ok());
  TestJob job;
  WeightArena arena(&job.scratch());
  PassContext context;
  context.job = &job.context();
  context.arena = &arena;
  const auto report = (*PassRegistry::Get().ForStep(step))->Run(*model, step, context);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->changes_size(), 0);
  ASSERT_EQ(report->skips_size(), 1);
  EXPECT_EQ(report->skips(0).reason(), "inside_function");
  EXPECT_EQ(model->proto().functions_size(), 1);
}

}  // namespace
}  // namespace modelpress
