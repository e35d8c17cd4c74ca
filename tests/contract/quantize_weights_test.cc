// quantize_weights as a whole: what its options make of small models, as the runtime sees it.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "core/base/format_string.h"
#include "core/measure/comparison.h"
#include "core/measure/sizes.h"
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

using ::testing::HasSubstr;
using testing::TestJob;

void AddWeight(onnx::ModelProto& proto, const std::string& name, std::vector<int64_t> dims,
               uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  onnx::TensorProto& tensor = *proto.mutable_graph()->add_initializer();
  tensor.set_name(name);
  tensor.set_data_type(onnx::TensorProto::FLOAT);
  size_t count = 1;
  for (const int64_t extent : dims) {
    tensor.add_dims(extent);
    count *= static_cast<size_t>(extent);
  }
  std::vector<float> values(count);
  for (float& value : values) value = 0.1f * normal(random);
  tensor.set_raw_data(values.data(), values.size() * sizeof(float));
}

// Two layers; 100 inputs leave a last block that is not full, 75 columns share bytes.
onnx::ModelProto TwoLayers(int opset) {
  onnx::ModelProto proto = testing::ParseProto(FormatString(
      R"(<ir_version: 8, opset_import: ["" : {}]>
         g (float[5, 100] x) => (float[5, 40] y) {{ h = MatMul(x, a) r = Relu(h) y = MatMul(r, b) }})",
      opset));
  AddWeight(proto, "a", {100, 75}, 1);
  AddWeight(proto, "b", {75, 40}, 2);
  return proto;
}

struct Outcome {
  absl::Status status;
  PassReport report;
  TensorMap outputs;
  ModelSummary summary;
  std::vector<std::string> operators;
  int64_t opset = 0;
};

TensorMap Inputs(const Model& model) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  TensorMap inputs;
  for (const ValueInfo& input : DeclaredInputs(model)) {
    std::span<std::byte> bytes;
    auto tensor = Tensor::Make(input.type, input.dims, &bytes);
    EXPECT_TRUE(tensor.ok());
    for (uint64_t i = 0; i < tensor->element_count(); ++i) {
      if (input.type == DataType::kFloat) {
        reinterpret_cast<float*>(bytes.data())[i] = normal(random);
      } else {
        reinterpret_cast<int64_t*>(bytes.data())[i] = static_cast<int64_t>(i % 7);
      }
    }
    inputs.emplace(input.name, *std::move(tensor));
  }
  return inputs;
}

TensorMap Infer(const Model& model) {
  auto session = Session::Create(model, {});
  EXPECT_TRUE(session.ok()) << session.status();
  if (!session.ok()) return {};
  auto outputs = (*session)->Run(Inputs(model));
  EXPECT_TRUE(outputs.ok()) << outputs.status();
  return outputs.ok() ? *std::move(outputs) : TensorMap{};
}

Outcome Quantize(const onnx::ModelProto& proto, std::string_view options) {
  Outcome outcome;
  auto model = testing::ReadModel(proto);
  EXPECT_TRUE(model.ok()) << model.status();
  PassStep step;
  const absl::Status parsed = ReadYaml(FormatString("quantize_weights: {}", options), &step);
  EXPECT_TRUE(parsed.ok()) << parsed;
  const Pass* pass = PassRegistry::Get().Find("quantize_weights");
  outcome.status = pass->Validate(step);
  if (!outcome.status.ok()) return outcome;
  TestJob job(2);
  WeightArena arena(&job.scratch());
  const Model original = model->Clone();
  PassContext context;
  context.job = &job.context();
  context.original = &original;
  context.arena = &arena;
  auto report = pass->Run(*model, step, context);
  outcome.status = report.status();
  if (!report.ok()) return outcome;
  outcome.report = *std::move(report);
  outcome.opset = model->opset();
  for (const auto& node : model->proto().graph().node()) {
    outcome.operators.push_back(node.op_type());
  }
  outcome.outputs = Infer(*model);
  auto summary = Summarise(*model, /*count_nonzero=*/true, job.context());
  EXPECT_TRUE(summary.ok()) << summary.status();
  outcome.summary = *summary;
  return outcome;
}

double SqnrAgainst(const TensorMap& reference, const TensorMap& outputs) {
  OutputComparer comparer;
  EXPECT_TRUE(comparer.Add(reference, outputs, 0, 1).ok());
  return comparer.Finish()[0].sqnr_db();
}

TEST(QuantizeWeightsTest, BothEncodingsAreTheSameModel) {
  const onnx::ModelProto proto = TwoLayers(17);
  const TensorMap before = Infer(*testing::ReadModel(proto));
  for (const auto& [options, least] : {std::pair{"type: int4", 17.0},
                                       {"type: uint4, method: rtn", 17.0},
                                       {"type: int4, scheme: asymmetric, block_size: 16", 18.0},
                                       {"type: int3", 11.0},
                                       {"type: int3, scheme: symmetric", 10.0},
                                       {"type: int2, method: hqq", 5.0},
                                       {"type: int2, method: mse_clip", 5.0}}) {
    const Outcome tensor = Quantize(proto, FormatString("{{{}}}", options));
    const Outcome packed = Quantize(proto, FormatString("{{{}, encoding: matmul_nbits}}", options));
    ASSERT_TRUE(tensor.status.ok()) << tensor.status;
    ASSERT_TRUE(packed.status.ok()) << packed.status;
    EXPECT_EQ(tensor.opset, 21);
    EXPECT_EQ(packed.opset, 17);
    EXPECT_EQ(std::ranges::count(packed.operators, "MatMulNBits"), 2);
    EXPECT_GT(SqnrAgainst(before, tensor.outputs), least) << options;
    EXPECT_GT(SqnrAgainst(tensor.outputs, packed.outputs), 90) << options;
    // The padding of MatMulNBits is no parameter.
    EXPECT_EQ(tensor.summary.parameters(), 100u * 75 + 75 * 40) << options;
    EXPECT_EQ(packed.summary.parameters(), tensor.summary.parameters()) << options;
    EXPECT_EQ(packed.summary.nonzero_parameters(), tensor.summary.nonzero_parameters()) << options;
  }
}

TEST(QuantizeWeightsTest, GemmBecomesMatMulNBitsAndAdd) {
  onnx::ModelProto proto = testing::ParseProto(R"(<ir_version: 8, opset_import: ["" : 17]>
      g (float[5, 100] x) => (float[5, 40] y, float[5, 40] z, float[5, 40] u)
      { y = Gemm <transB = 1> (x, a, c) z = Gemm (x, b) u = Gemm <alpha = 0.5> (x, d, c) })");
  AddWeight(proto, "a", {40, 100}, 10);
  AddWeight(proto, "b", {100, 40}, 11);
  AddWeight(proto, "d", {100, 40}, 12);
  AddWeight(proto, "c", {40}, 13);
  const TensorMap before = Infer(*testing::ReadModel(proto));
  const Outcome outcome = Quantize(proto, "{type: uint4, encoding: matmul_nbits}");
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_THAT(outcome.operators,
              ::testing::UnorderedElementsAre("MatMulNBits", "Add", "MatMulNBits",
                                              "DequantizeLinear", "Gemm"));
  OutputComparer comparer;
  ASSERT_TRUE(comparer.Add(before, outcome.outputs, 0, 1).ok());
  for (const OutputComparison& row : comparer.Finish()) EXPECT_GT(row.sqnr_db(), 18);
  EXPECT_EQ(outcome.summary.parameters(), 3u * 4000 + 40);
}

TEST(QuantizeWeightsTest, TiedWeightsStayTied) {
  onnx::ModelProto proto = testing::ParseProto(R"(<ir_version: 8, opset_import: ["" : 17]>
      g (int64[4] i) => (float[4, 50] y) { h = Gather(table, i) y = Gemm <transB = 1> (h, table) })");
  AddWeight(proto, "table", {50, 64}, 4);
  const TensorMap before = Infer(*testing::ReadModel(proto));
  for (const char* options : {"{type: int4}", "{type: uint4, encoding: matmul_nbits}", "{}"}) {
    const Outcome outcome = Quantize(proto, options);
    ASSERT_TRUE(outcome.status.ok()) << outcome.status;
    EXPECT_EQ(outcome.summary.parameters(), 50u * 64);
    EXPECT_GT(SqnrAgainst(before, outcome.outputs), 15) << options;
  }
}

// Every operator whose weights are coded, also in a subgraph and in half precision.
TEST(QuantizeWeightsTest, EveryOperatorRuns) {
  struct Case {
    const char* name;
    const char* graph;
    std::vector<std::pair<std::string, std::vector<int64_t>>> weights;
    const char* method = "kquant";
  };
  for (const Case& c : {
           Case{"conv",
                R"(g (float[1, 32, 6, 6] x) => (float[1, 48, 4, 4] y) { y = Conv(x, w) })",
                {{"w", {48, 32, 3, 3}}}},
           Case{"depthwise",
                R"(g (float[1, 48, 6, 6] x) => (float[1, 48, 4, 4] y)
                   { y = Conv <group = 48> (x, w) })",
                {{"w", {48, 1, 3, 3}}}},
           Case{"transposed conv",
                R"(g (float[1, 32, 4, 4] x) => (float[1, 20, 6, 6] y) { y = ConvTranspose(x, w) })",
                {{"w", {32, 20, 3, 3}}}},
           Case{"lstm",
                R"(g (float[3, 1, 40] x) => (float[3, 1, 1, 16] y)
                   { y = LSTM <hidden_size = 16> (x, w, r) })",
                {{"w", {1, 64, 40}}, {"r", {1, 64, 16}}}},
           Case{"gemm",
                R"(g (float[4, 50] x) => (float[4, 24] y) { y = Gemm(x, w, b) })",
                {{"w", {50, 24}}, {"b", {24}}},
                "awq"},
           Case{"turned gemm",
                R"(g (float[4, 50] x) => (float[4, 24] y) { y = Gemm <transB = 1> (x, w) })",
                {{"w", {24, 50}}},
                "gptq"},
           Case{"first operand",
                R"(g (float[40, 4] x) => (float[24, 4] y) { y = MatMul(w, x) })",
                {{"w", {24, 40}}},
                "gptq"},
           Case{"batched",
                R"(g (float[3, 4, 40] x) => (float[3, 4, 24] y) { y = MatMul(x, w) })",
                {{"w", {3, 40, 24}}},
                "scale_estimation"},
           Case{"in a branch",
                R"(g (float[4, 40] x) => (float[4, 24] y)
                   { s = ReduceSum <keepdims = 0> (x) z = Sub(s, s) c = Cast <to = 9> (z)
                     y = If (c) <then_branch = a () => (float[4, 24] t) { t = MatMul(x, w) },
                                 else_branch = b () => (float[4, 24] t) { t = MatMul(x, v) }> })",
                {{"w", {40, 24}}, {"v", {40, 24}}},
                "gptq"},
           Case{"moved",
                R"(g (float[4, 40] x) => (float[4, 24] y)
                            { t = Transpose(w) y = MatMul(x, t) })",
                {{"w", {24, 40}}}},
           Case{"half",
                R"(g (float[4, 40] x) => (float[4, 24] y)
                           { h = Cast <to = 10> (x) v = Cast <to = 10> (w) m = MatMul(h, v)
                             y = Cast <to = 1> (m) })",
                {{"w", {40, 24}}}},
       }) {
    onnx::ModelProto proto = testing::ParseProto(
        FormatString(R"(<ir_version: 8, opset_import: ["" : 17]> {})", c.graph));
    uint32_t seed = 20;
    for (const auto& [name, dims] : c.weights) AddWeight(proto, name, dims, seed++);
    const TensorMap before = Infer(*testing::ReadModel(proto));
    for (const char* type : {"int8, block_size: 32", "uint4, block_size: 16", "int4",
                             "int4, granularity: per_channel", "int3, encoding: matmul_nbits"}) {
      SCOPED_TRACE(FormatString("{}, {}", c.name, type));
      const Outcome outcome = Quantize(
          proto,
          FormatString("{{type: {}, method: {}, weights: {{min_elements: 100}}}}", type, c.method));
      ASSERT_TRUE(outcome.status.ok()) << outcome.status;
      EXPECT_GE(outcome.report.changes_size(), 1);
      EXPECT_LT(outcome.report.weight_bytes_after(), outcome.report.weight_bytes_before() / 2);
      EXPECT_GT(SqnrAgainst(before, outcome.outputs), 8);
    }
  }
}

TEST(QuantizeWeightsTest, HalfPrecisionWeightsKeepTheirType) {
  onnx::ModelProto proto = testing::ParseProto(R"(<ir_version: 8, opset_import: ["" : 17]>
      g (float[4, 40] x, int64[2] i) => (float[4, 24] y, float[2, 32] z)
      { h = Cast <to = 10> (x) m = MatMul(h, w) y = Cast <to = 1> (m)
        e = Gather(table, i) z = Cast <to = 1> (e) })");
  for (const auto& [name, dims] :
       {std::pair{"w", std::vector<int64_t>{40, 24}}, {"table", std::vector<int64_t>{8, 32}}}) {
    AddWeight(proto, name, dims, 30);
    onnx::TensorProto& tensor =
        *proto.mutable_graph()->mutable_initializer(proto.graph().initializer_size() - 1);
    const std::string floats = tensor.raw_data();
    tensor.set_data_type(onnx::TensorProto::FLOAT16);
    tensor.clear_raw_data();
    for (size_t i = 0; i < floats.size(); i += sizeof(float)) {
      float value;
      std::memcpy(&value, floats.data() + i, sizeof(value));
      const uint16_t half = FloatToHalf(value);
      tensor.mutable_raw_data()->append(reinterpret_cast<const char*>(&half), sizeof(half));
    }
  }
  const TensorMap before = Infer(*testing::ReadModel(proto));
  const Outcome outcome = Quantize(proto, "{type: int4, weights: {min_elements: 100}}");
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.report.changes_size(), 2);
  EXPECT_GT(SqnrAgainst(before, outcome.outputs), 15);
}

TEST(QuantizeWeightsTest, RulesAndBudget) {
  const onnx::ModelProto proto = TwoLayers(13);
  const Outcome ruled = Quantize(
      proto, "{type: int4, rules: [{match: ['a'], type: int8}, {match: ['b'], keep_float: true}]}");
  ASSERT_TRUE(ruled.status.ok()) << ruled.status;
  ASSERT_EQ(ruled.report.changes_size(), 1);
  EXPECT_THAT(ruled.report.changes(0).what(), HasSubstr("int8 per channel"));
  EXPECT_EQ(ruled.opset, 13);

  const Outcome smallest = Quantize(proto, "{type: int4}");
  ASSERT_TRUE(smallest.status.ok());
  uint64_t previous = 0;
  for (const uint64_t limit :
       {smallest.report.weight_bytes_after(), uint64_t{9000}, uint64_t{14000}, uint64_t{30000}}) {
    const Outcome fitted = Quantize(proto, FormatString("{{type: int4, max_bytes: {}}}", limit));
    ASSERT_TRUE(fitted.status.ok()) << fitted.status;
    EXPECT_LE(fitted.report.weight_bytes_after(), limit);
    EXPECT_GE(fitted.report.weight_bytes_after(), previous);
    previous = fitted.report.weight_bytes_after();
  }
  EXPECT_GT(previous, 14000u);
  EXPECT_EQ(ReasonOf(Quantize(proto, "{type: int4, max_bytes: 100}").status),
            ERROR_REASON_RECIPE_INVALID);
}

TEST(QuantizeWeightsTest, InputsAreDividedByTheFactorsOfRows) {
  // Channels of the LayerNormalization differ 30 times in size.
  onnx::ModelProto proto = testing::ParseProto(R"(<ir_version: 8, opset_import: ["" : 17]>
      g (float[6, 64] x) => (float[6, 80] y)
      { n = LayerNormalization(x, scale, bias) y = MatMul(n, w) })");
  AddWeight(proto, "w", {64, 80}, 5);
  AddWeight(proto, "bias", {64}, 6);
  onnx::TensorProto& scale = *proto.mutable_graph()->add_initializer();
  scale.set_name("scale");
  scale.set_data_type(onnx::TensorProto::FLOAT);
  scale.add_dims(64);
  std::vector<float> values(64, 1.0f);
  for (size_t k = 3; k < 64; k += 32) values[k] = 30;
  scale.set_raw_data(values.data(), values.size() * sizeof(float));
  const TensorMap before = Infer(*testing::ReadModel(proto));
  const Outcome plain = Quantize(proto, "{type: int4, method: rtn}");
  const Outcome scaled = Quantize(proto, "{type: int4, method: awq}");
  ASSERT_TRUE(plain.status.ok() && scaled.status.ok()) << scaled.status;
  EXPECT_THAT(scaled.operators, ::testing::Contains("Mul"));
  EXPECT_GT(SqnrAgainst(before, scaled.outputs), SqnrAgainst(before, plain.outputs) + 2);
}

TEST(QuantizeWeightsTest, MethodsThatUseDataSayWhatTheyUsed) {
  const onnx::ModelProto proto = TwoLayers(17);
  for (const char* method : {"gptq", "scale_estimation"}) {
    const Outcome outcome = Quantize(proto, FormatString("{{type: int4, method: {}}}", method));
    ASSERT_TRUE(outcome.status.ok()) << outcome.status;
    const std::string notes = outcome.report.ShortDebugString();
    EXPECT_THAT(notes, HasSubstr("random inputs say little"));
    for (const Change& change : outcome.report.changes()) {
      EXPECT_TRUE(change.has_output_sqnr_db() || change.what().contains("kquant")) << change.what();
    }
  }
}

TEST(QuantizeWeightsTest, OptionsThatMeanNothing) {
  for (const char* options :
       {"{type: int4, granularity: per_tensor}", "{type: int4, block_size: 24}",
        "{type: int4, method: hqq, scheme: symmetric}", "{method: gptq}",
        "{type: int4, rules: [{type: int8}]}", "{type: int4, rules: [{match: ['']}]}",
        "{type: int4, rules: [{match: ['a'], block_size: 512}]}"}) {
    EXPECT_EQ(ReasonOf(Quantize(TwoLayers(17), options).status), ERROR_REASON_RECIPE_INVALID)
        << options;
  }
}

}  // namespace
}  // namespace modelpress
