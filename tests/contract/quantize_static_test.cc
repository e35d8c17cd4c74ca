// quantize_static and correct_bias as a recipe runs them: what is kept, refused, stored, reported.
#include <algorithm>
#include <random>
#include <set>

#include "core/model/graph.h"
#include "core/passes/pass.h"
#include "core/recipe/recipe_reader.h"
#include "core/runtime/session.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/model_builder.h"
#include "tests/support/test_job.h"

namespace modelpress {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using testing::TestJob;

// Gives constants that the text only declares small normal numbers.
Model Filled(std::string_view text) {
  onnx::ModelProto proto = testing::ParseProto(text);
  // Declared without a value: theirs to fill.
  std::set<std::string> made;
  for (const onnx::NodeProto& node : proto.graph().node()) {
    made.insert(node.output().begin(), node.output().end());
  }
  google::protobuf::RepeatedPtrField<onnx::ValueInfoProto> values;
  values.Swap(proto.mutable_graph()->mutable_value_info());
  for (const onnx::ValueInfoProto& value : values) {
    if (made.contains(value.name())) continue;
    onnx::TensorProto& tensor = *proto.mutable_graph()->add_initializer();
    tensor.set_name(value.name());
    tensor.set_data_type(onnx::TensorProto::FLOAT);
    for (const auto& dim : value.type().tensor_type().shape().dim()) {
      tensor.add_dims(dim.dim_value());
    }
  }
  std::mt19937 random(5);
  std::normal_distribution<float> normal(0, 0.3f);
  for (onnx::TensorProto& tensor : *proto.mutable_graph()->mutable_initializer()) {
    int64_t count = 1;
    for (const int64_t extent : tensor.dims()) count *= extent;
    if (tensor.data_type() != onnx::TensorProto::FLOAT || tensor.float_data_size() > 0) continue;
    for (int64_t i = 0; i < count; ++i) tensor.add_float_data(normal(random));
  }
  return testing::ReadModel(proto).value();
}

struct Ran {
  absl::Status status;
  PassReport report;
  Model model;
};

Ran RunStep(std::string_view yaml, const Model& from, const Model& original, TestJob& job,
            WeightArena& arena) {
  PassStep step;
  EXPECT_TRUE(ReadYaml(yaml, &step).ok()) << yaml;
  const Pass* pass = PassRegistry::Get().ForStep(step).value();
  EXPECT_TRUE(pass->Validate(step).ok());
  Ran ran{absl::OkStatus(), {}, from.Clone()};
  PassContext context;
  context.job = &job.context();
  context.original = &original;
  context.arena = &arena;
  auto report = pass->Run(ran.model, step, context);
  ran.status = report.status();
  if (report.ok()) ran.report = *std::move(report);
  return ran;
}

Ran RunStep(std::string_view yaml, const Model& from, TestJob& job, WeightArena& arena) {
  return RunStep(yaml, from, from, job, arena);
}

std::multiset<std::string> Operators(const Model& model) {
  std::multiset<std::string> operators;
  ForEachGraph(model.proto(), [&](const onnx::GraphProto& graph, int) {
    for (const onnx::NodeProto& node : graph.node()) operators.insert(node.op_type());
  });
  return operators;
}

constexpr std::string_view kTwoLayers = R"(<ir_version: 8, opset_import: ["" : 13]>
    g (float[1, 4, 8, 8] x) => (float[1, 4, 8, 8] y)
    <float[4, 4, 3, 3] w, float[4, 4, 3, 3] v, float[4] b = {1, 2, 3, 4}> {
      h = Conv<pads = [1, 1, 1, 1]>(x, w, b)
      r = Relu(h)
      y = Conv<pads = [1, 1, 1, 1]>(r, v)
    })";

// The second layer reads floats whatever becomes of the first.
constexpr std::string_view kApart = R"(<ir_version: 8, opset_import: ["" : 13]>
    g (float[1, 4, 8, 8] x) => (float[1, 4, 8, 8] y)
    <float[4, 4, 3, 3] w, float[4, 4, 3, 3] v> {
      h = Conv<pads = [1, 1, 1, 1]>(x, w)
      r = Tanh(h)
      y = Conv<pads = [1, 1, 1, 1]>(r, v)
    })";

TEST(QuantizeStaticTest, ReportsEachLayerAndTheShareInIntegerKernels) {
  TestJob job;
  WeightArena arena(&job.scratch());
  const Ran ran = RunStep("quantize_static: {}", Filled(kTwoLayers), job, arena);
  ASSERT_TRUE(ran.status.ok()) << ran.status;
  EXPECT_EQ(ran.report.integer_mac_share(), 1);
  int layers = 0;
  for (const Change& change : ran.report.changes()) {
    if (!change.has_activations()) continue;
    ++layers;
    const ActivationGrid& grid = change.activations();
    EXPECT_TRUE(grid.integer_kernel()) << change.node();
    EXPECT_EQ(grid.macs(), 4 * 64 * 36);
    EXPECT_GT(change.sqnr_db(), 30);
    EXPECT_GT(grid.sqnr_db(), 20);
    EXPECT_GT(grid.layer_sqnr_db(), 20);
    EXPECT_LT(grid.clipped_share(), 0.01);
    EXPECT_FALSE(grid.range_rule().empty());
    // |code| = |b| / (scale_x scale_w), of a bias of a few units, is far from 2^31.
    if (change.tensor() == "w") {
      EXPECT_GT(grid.bias_headroom_bits(), 10);
    }
  }
  EXPECT_EQ(layers, 2);
}

TEST(QuantizeStaticTest, AQuantizedModelStaysAsItIs) {
  TestJob job;
  WeightArena arena(&job.scratch());
  const Ran first = RunStep("quantize_static: {exclude: [y]}", Filled(kApart), job, arena);
  ASSERT_TRUE(first.status.ok()) << first.status;
  const Ran refused = RunStep("quantize_static: {}", first.model, job, arena);
  EXPECT_EQ(ReasonOf(refused.status), ERROR_REASON_NOTHING_CHANGED);
  EXPECT_THAT(std::string(refused.status.message()), HasSubstr("already_quantized"));
  const Ran kept = RunStep("quantize_static: {}\nallow_no_change: true", first.model, job, arena);
  ASSERT_TRUE(kept.status.ok());
  EXPECT_EQ(kept.model.proto().SerializeAsString(), first.model.proto().SerializeAsString());
  EXPECT_EQ(kept.report.skips(0).reason(), "already_quantized");
}

TEST(QuantizeStaticTest, IsCompletedOnRequestAndNeverQuantizedTwice) {
  TestJob job;
  WeightArena arena(&job.scratch());
  const Ran first = RunStep("quantize_static: {exclude: [y]}", Filled(kApart), job, arena);
  ASSERT_TRUE(first.status.ok()) << first.status;
  const Ran second = RunStep("quantize_static: {complete: true}", first.model, job, arena);
  ASSERT_TRUE(second.status.ok()) << second.status;
  EXPECT_TRUE(Session::Create(second.model, {}).ok());
  for (const Change& change : second.report.changes()) EXPECT_EQ(change.node(), "Conv_y");
  EXPECT_THAT(Operators(second.model), Contains("QuantizeLinear"));
  const Ran third = RunStep("quantize_static: {complete: true}", second.model, job, arena);
  EXPECT_EQ(ReasonOf(third.status), ERROR_REASON_NOTHING_CHANGED);
}

TEST(QuantizeStaticTest, NothingToQuantizeIsAnError) {
  TestJob job;
  WeightArena arena(&job.scratch());
  const Model model = testing::ModelFromText(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[2] x) => (float[2] y) { y = Relu(x) })");
  const Ran ran = RunStep("quantize_static: {}", model, job, arena);
  EXPECT_EQ(ReasonOf(ran.status), ERROR_REASON_NOTHING_CHANGED);
}

// No sample takes the else branch: its layer stays float, and its weight still shrinks.
TEST(QuantizeStaticTest, WeightsOfLayersThatNoSampleReachesAreStoredInCodes) {
  TestJob job;
  WeightArena arena(&job.scratch());
  const Model model = Filled(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[2, 64] x) => (float[2, 64] y) <bool c = {1}, float[64, 64] w, float[64, 64] v> {
        y = If(c) <then_branch = a () => (float[2, 64] s) { s = MatMul(x, w) },
                   else_branch = b () => (float[2, 64] t) { n = Neg(x) t = MatMul(n, v) }>
      })");
  const Ran ran = RunStep("quantize_static: {}", model, job, arena);
  ASSERT_TRUE(ran.status.ok()) << ran.status;
  EXPECT_EQ(testing::FindInitializer(ran.model, "v"), nullptr);
  EXPECT_EQ(testing::FindInitializer(ran.model, "w"), nullptr);
  EXPECT_TRUE(Session::Create(ran.model, {}).ok());
  EXPECT_TRUE(std::ranges::any_of(ran.report.skips(), [](const Skip& skip) {
    return skip.reason() == "not_observed" && skip.tensor() == "v";
  }));
}

TEST(QuantizeStaticTest, EveryTargetAndTypeLoadsAndRuns) {
  const Model model = Filled(kTwoLayers);
  for (const std::string options :
       {"target: cpu_vnni", "target: cpu_avx2", "target: arm64", "target: tensorrt",
        "activation_type: uint16", "activation_type: int16", "weight_type: uint8",
        "symmetric_activations: true", "granularity: per_tensor", "range: minmax",
        "range: entropy, limits: {off: true}"}) {
    TestJob job;
    WeightArena arena(&job.scratch());
    const Ran ran = RunStep("quantize_static: {" + options + "}", model, job, arena);
    ASSERT_TRUE(ran.status.ok()) << options << ": " << ran.status;
    const auto session = Session::Create(ran.model, {});
    EXPECT_TRUE(session.ok()) << options << ": " << session.status();
    EXPECT_EQ(testing::FindInitializer(ran.model, "w"), nullptr) << options;
  }
}

// Plain rounding of weights has an error with a mean where inputs are not centred.
TEST(CorrectBiasTest, TakesTheMeanErrorOfCodedWeightsOut) {
  TestJob job;
  WeightArena arena(&job.scratch());
  const Model model = testing::ModelFromText(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[4, 2] x) => (float[4, 1] y)
      <float[2, 1] w = {1.27, 0.0049}, float[1] b = {0.5}> { p = Abs(x) y = Gemm(p, w, b) })");
  // The same with codes of a scale of 0.01.
  const Model coded = testing::ModelFromText(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[4, 2] x) => (float[4, 1] y)
      <int8[2, 1] w = {127, 0}, float s = {0.01}, float[1] b = {0.5}> {
        p = Abs(x)
        v = DequantizeLinear(w, s)
        y = Gemm(p, v, b)
      })");
  const Ran ran = RunStep("correct_bias: {}", coded, model, job, arena);
  ASSERT_TRUE(ran.status.ok()) << ran.status;
  ASSERT_EQ(ran.report.changes_size(), 1);
  EXPECT_EQ(ran.report.changes(0).node(), "Gemm_y");
  const auto& nodes = ran.model.proto().graph().node();
  const auto gemm = std::ranges::find_if(
      nodes, [](const onnx::NodeProto& node) { return node.op_type() == "Gemm"; });
  // E|x| of a standard normal is 0.798; the weight 0.0049 has code 0.
  EXPECT_NEAR(testing::Values(ran.model, *testing::FindInitializer(ran.model, gemm->input(2)))[0],
              0.5 + 0.0049 * 0.798, 0.0025);
}

TEST(CorrectBiasTest, WithoutQuantizedLayersThereIsNothingToDo) {
  TestJob job;
  WeightArena arena(&job.scratch());
  const Ran ran = RunStep("correct_bias: {}", Filled(kTwoLayers), job, arena);
  EXPECT_EQ(ReasonOf(ran.status), ERROR_REASON_NOTHING_CHANGED);
}

}  // namespace
}  // namespace modelpress
