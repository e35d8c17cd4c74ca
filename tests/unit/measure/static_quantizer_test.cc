// Quantized graphs by what the runtime makes of them: integer kernels, grids, biases, subgraphs; and the foldings before.
#include "core/measure/static_quantizer.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "core/measure/bias_correction.h"
#include "core/measure/comparison.h"
#include "core/quant/affine_folding.h"
#include "core/quant/qdq_flow.h"
#include "core/runtime/profile.h"
#include "core/runtime/session.h"
#include "core/statistics/calibration_samples.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/model_builder.h"
#include "tests/support/test_job.h"

namespace modelpress {
namespace {

using ::testing::ElementsAre;
using testing::ModelFromText;
using testing::TestJob;

// A float initializer of normal numbers.
void AddRandom(onnx::ModelProto& model, const std::string& name, const std::vector<int64_t>& dims,
               uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 0.5f);
  onnx::TensorProto& tensor = *model.mutable_graph()->add_initializer();
  tensor.set_name(name);
  tensor.set_data_type(onnx::TensorProto::FLOAT);
  int64_t count = 1;
  for (const int64_t extent : dims) {
    tensor.add_dims(extent);
    count *= extent;
  }
  for (int64_t i = 0; i < count; ++i) tensor.add_float_data(normal(random));
}

struct Case {
  std::string text;
  std::vector<std::pair<std::string, std::vector<int64_t>>> weights;
};

Model Make(const Case& which) {
  onnx::ModelProto proto = testing::ParseProto(which.text);
  uint32_t seed = 1;
  for (const auto& [name, dims] : which.weights) AddRandom(proto, name, dims, seed++);
  Model model = testing::ReadModel(proto).value();
  NameNodes(model.mutable_proto());
  return model;
}

// A residual net: everything between its convolutions can be integers.
const Case kResidual = {
    R"(<ir_version: 8, opset_import: ["" : 13]>
       g (float[1, 4, 8, 8] x) => (float[1, 8] y) {
         a = Conv<pads = [1, 1, 1, 1]>(x, w1, b1)
         r = Relu(a)
         p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(r)
         c = Conv<pads = [1, 1, 1, 1]>(p, w2)
         s = Add(c, p)
         d = Conv(s, w3, b3)
         q = GlobalAveragePool(d)
         f = Flatten(q)
         y = Gemm(f, w4, b4)
       })",
    {{"w1", {8, 4, 3, 3}},
     {"b1", {8}},
     {"w2", {8, 8, 3, 3}},
     {"w3", {8, 8, 1, 1}},
     {"b3", {8}},
     {"w4", {8, 8}},
     {"b4", {8}}}};

struct Quantized {
  std::unique_ptr<StaticQuantizer> quantizer;
  Model model;
  std::unique_ptr<Samples> samples;
};

Quantized Quantize(Model& model, TestJob& job, WeightArena& arena,
                   StaticQuantization options = {}) {
  Quantized result;
  const GraphIndex index(model.mutable_proto());
  QdqLayers layers = FindQdqLayers(model, index).value();
  result.samples = OpenCalibrationSamples(model, nullptr, 0, 10, 1, job.context()).value();
  result.quantizer = StaticQuantizer::Make(model, layers.layers, options, true, *result.samples,
                                           arena, job.context(), nullptr)
                         .value();
  EXPECT_TRUE(result.quantizer->UseRanges({}).ok());
  auto built = result.quantizer->Build(result.quantizer->AllInteger());
  EXPECT_TRUE(built.ok()) << built.status();
  if (built.ok()) result.model = *std::move(built);
  return result;
}

// Operators of the runtime's optimized graph, by type whatever the domain.
std::map<std::string, int> Operators(const Model& model, TestJob& job) {
  std::map<std::string, int> counts;
  const OptimizedGraph graph = InspectOptimizedGraph(model, 1, job.scratch()).value();
  for (const auto& [type, count] : graph.operators) {
    counts[type.substr(type.rfind(':') + 1)] += count;
  }
  return counts;
}

TensorMap Infer(const Model& model, const Batch& batch) {
  auto session = Session::Create(model, {});
  EXPECT_TRUE(session.ok()) << session.status();
  return session.ok() ? (*session)->Run(batch.inputs).value() : TensorMap();
}

double Sqnr(const Model& a, const Model& b, const Samples& samples) {
  OutputComparer comparer;
  for (uint64_t i = 0; i < samples.batches(); ++i) {
    const Batch batch = samples.Read(i).value();
    EXPECT_TRUE(comparer.Add(Infer(a, batch), Infer(b, batch), i, 1).ok());
  }
  return comparer.Finish()[0].sqnr_db();
}

TEST(StaticQuantizerTest, TheRuntimeRunsAResidualNetInIntegersFromEndToEnd) {
  TestJob job;
  WeightArena arena(&job.scratch());
  Model model = Make(kResidual);
  const Quantized quantized = Quantize(model, job, arena);
  std::map<std::string, int> operators = Operators(quantized.model, job);
  EXPECT_EQ(operators["QLinearConv"], 3);
  EXPECT_EQ(operators["QGemm"], 1);
  EXPECT_EQ(operators["QLinearAdd"], 1);
  EXPECT_EQ(operators["Conv"] + operators["Relu"] + operators["Add"] + operators["Gemm"] +
                operators["DequantizeLinear"],
            0);
  EXPECT_EQ(operators["QuantizeLinear"], 1);  // of the input
  EXPECT_GT(Sqnr(model, quantized.model, *quantized.samples), 20);
}

// Hard-swish in two operators, and a gate behind a pooled branch: all of it in codes.
const Case kHardSwish = {
    R"(<ir_version: 8, opset_import: ["" : 14]>
       g (float[1, 4, 8, 8] x) => (float[1, 8, 8, 8] y) {
         a = Conv<pads = [1, 1, 1, 1]>(x, w1, b1)
         s = HardSigmoid<alpha = 0.16666667, beta = 0.5>(a)
         h = Mul(a, s)
         p = GlobalAveragePool(h)
         c = Conv(p, w2, b1)
         g = HardSigmoid<alpha = 0.2, beta = 0.5>(c)
         m = Mul(h, g)
         y = Conv(m, w3)
       })",
    {{"w1", {8, 4, 3, 3}}, {"b1", {8}}, {"w2", {8, 8, 1, 1}}, {"w3", {8, 8, 1, 1}}}};

TEST(StaticQuantizerTest, HardSigmoidIsAChangeOfGrids) {
  TestJob job;
  WeightArena arena(&job.scratch());
  Model model = Make(kHardSwish);
  const Quantized quantized = Quantize(model, job, arena);
  std::map<std::string, int> operators = Operators(quantized.model, job);
  EXPECT_EQ(operators["QLinearConv"], 3);
  EXPECT_EQ(operators["QLinearLeakyRelu"], 2);
  EXPECT_EQ(operators["QLinearMul"], 2);
  EXPECT_EQ(operators["HardSigmoid"] + operators["Mul"] + operators["LeakyRelu"], 0);
  EXPECT_EQ(operators["QuantizeLinear"], 1);    // of the input
  EXPECT_EQ(operators["DequantizeLinear"], 1);  // of the output
  EXPECT_GT(Sqnr(model, quantized.model, *quantized.samples), 25);
}

TEST(StaticQuantizerTest, SymmetricGridsLeaveHardSigmoidFloat) {
  TestJob job;
  WeightArena arena(&job.scratch());
  Model model = Make(kHardSwish);
  StaticQuantization options;
  options.rewrite.activations = {.type = DataType::kInt8, .symmetric = true};
  const Quantized quantized = Quantize(model, job, arena, options);
  std::map<std::string, int> operators = Operators(quantized.model, job);
  EXPECT_EQ(operators["HardSigmoid"], 2);
  EXPECT_GT(Sqnr(model, quantized.model, *quantized.samples), 20);
}

// The grid begins where HardSigmoid is 0, not at the smallest value.
TEST(StaticQuantizerTest, AGridReachesNoFurtherThanItsReadersTellApart) {
  TestJob job;
  WeightArena arena(&job.scratch());
  Model model = Make({R"(<ir_version: 8, opset_import: ["" : 14]>
      g (float[1, 2, 8, 8] x) => (float[1, 2, 8, 8] y) <float[1, 1, 1, 1] ten = {10}> {
        l = Mul(x, ten)
        a = Conv(l, w)
        y = HardSwish(a)
      })",
                      {{"w", {2, 2, 1, 1}}}});
  const Quantized quantized = Quantize(model, job, arena);
  const auto& q = quantized.model;
  const double scale = testing::Values(q, *testing::FindInitializer(q, "a_scale"))[0];
  const double zero = testing::Values(q, *testing::FindInitializer(q, "a_zero_point"))[0];
  EXPECT_NEAR(-zero * scale, -3, scale);
}

TEST(StaticQuantizerTest, EachRangeTakesTheRuleOfTheLeastError) {
  TestJob job;
  WeightArena arena(&job.scratch());
  Model model = Make(kResidual);
  const Quantized quantized = Quantize(model, job, arena);
  const std::vector<RangeRule> rules = {{.method = RangeMethod::kMinMax},
                                        {.method = RangeMethod::kPercentile, .percentile = 60}};
  std::vector<std::vector<double>> errors(2, std::vector<double>(4, 0.5));
  errors[1][0] = 0.1;  // the first layer is better off with the percentile
  errors[0][3] = 0.1;
  ASSERT_TRUE(quantized.quantizer->UseBestRanges(rules, errors).ok());
  const auto& layers = quantized.quantizer->layers();
  EXPECT_EQ(layers[0].rule.method, RangeMethod::kPercentile);
  EXPECT_EQ(layers[3].rule.method, RangeMethod::kMinMax);
  EXPECT_GT(layers[0].clipped_share, 0.3);
}

TEST(StaticQuantizerTest, GridsAndBiasesFollowTheRuntimesRule) {
  TestJob job;
  WeightArena arena(&job.scratch());
  Model model = Make({R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[1, 2, 4, 4] x) => (float[1, 2, 4, 4] y) { y = Conv(x, w, b) })",
                      {{"w", {2, 2, 1, 1}}, {"b", {2}}}});
  const Quantized quantized = Quantize(model, job, arena);
  float low = 0, high = 0;
  for (uint64_t i = 0; i < quantized.samples->batches(); ++i) {
    const Batch batch = quantized.samples->Read(i).value();
    for (const float value : batch.inputs.at("x").as<float>()) {
      low = std::min(low, value);
      high = std::max(high, value);
    }
  }
  const float scale = static_cast<float>((static_cast<double>(high) - low) / 255);
  const Model& q = quantized.model;
  EXPECT_THAT(testing::Values(q, *testing::FindInitializer(q, "x_scale")), ElementsAre(scale));
  EXPECT_THAT(testing::Values(q, *testing::FindInitializer(q, "x_zero_point")),
              ElementsAre(std::nearbyint(-low / ((static_cast<double>(high) - low) / 255))));
  const auto w = testing::Values(model, *testing::FindInitializer(model, "w"));
  const auto b = testing::Values(model, *testing::FindInitializer(model, "b"));
  for (int c = 0; c < 2; ++c) {
    const double largest = std::max(std::abs(w[2 * c]), std::abs(w[2 * c + 1]));
    const float w_scale = static_cast<float>(2 * largest / 254);
    EXPECT_EQ(testing::Values(q, *testing::FindInitializer(q, "w_scale"))[c], w_scale);
    const float b_scale = scale * w_scale;
    EXPECT_EQ(testing::Values(q, *testing::FindInitializer(q, "b_scale"))[c], b_scale);
    EXPECT_EQ(testing::Values(q, *testing::FindInitializer(q, "b_quantized"))[c],
              std::nearbyint(b[c] / b_scale));
  }
}

TEST(StaticQuantizerTest, AWeightScaleIsRaisedWhereTheBiasWouldOverflow) {
  TestJob job;
  WeightArena arena(&job.scratch());
  Model model = ModelFromText(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[1, 1, 4, 4] x) => (float[1, 2, 4, 4] y)
      <float[2, 1, 1, 1] w = {0.5, 1e-9}, float[2] b = {0.1, 1000}> { y = Conv(x, w, b) })");
  NameNodes(model.mutable_proto());
  const Quantized quantized = Quantize(model, job, arena);
  EXPECT_EQ(quantized.quantizer->layers()[0].raised_channels, 1u);
  const auto codes =
      testing::Values(quantized.model, *testing::FindInitializer(quantized.model, "b_quantized"));
  const auto scales =
      testing::Values(quantized.model, *testing::FindInitializer(quantized.model, "b_scale"));
  EXPECT_LE(codes[1], 2147483647.0);
  EXPECT_NEAR(codes[1] * scales[1], 1000, 1e-3);
  EXPECT_GT(Sqnr(model, quantized.model, *quantized.samples), 40);
}

TEST(StaticQuantizerTest, AttentionAndBranchesRunInIntegers) {
  TestJob job;
  WeightArena arena(&job.scratch());
  Model model = Make({R"(<ir_version: 8, opset_import: ["" : 17]>
      g (float[1, 6, 8] x) => (float[1, 6, 8] y) <bool c = {1}> {
        q = MatMul(x, w1)
        t = Transpose<perm = [0, 2, 1]>(x)
        s = MatMul(q, t)
        p = Softmax(s)
        y = If(c) <then_branch = a () => (float[1, 6, 8] u) { u = MatMul(p, x) },
                   else_branch = b () => (float[1, 6, 8] u) { u = Neg(x) }>
      })",
                      {{"w1", {8, 8}}}});
  const Quantized quantized = Quantize(model, job, arena);
  EXPECT_EQ(quantized.quantizer->layers().size(), 3u);
  std::map<std::string, int> operators = Operators(quantized.model, job);
  // Where the product is quantized again at once, the runtime takes QLinearMatMul.
  EXPECT_EQ(operators["MatMulIntegerToFloat"] + operators["QLinearMatMul"], 3);
  EXPECT_EQ(operators["MatMul"], 0);
  EXPECT_GT(Sqnr(model, quantized.model, *quantized.samples), 25);
}

TEST(StaticQuantizerTest, ALayerThatIsNotActiveStaysFloat) {
  TestJob job;
  WeightArena arena(&job.scratch());
  Model model = Make(kResidual);
  const Quantized quantized = Quantize(model, job, arena);
  std::vector<LayerForm> forms = quantized.quantizer->AllInteger();
  forms[1] = LayerForm::kFloat;
  const Model partly = quantized.quantizer->Build(forms).value();
  std::map<std::string, int> operators = Operators(partly, job);
  EXPECT_EQ(operators["QLinearConv"], 2);
  EXPECT_NE(testing::FindInitializer(partly, "w2"), nullptr);
}

TEST(AffineFoldingTest, TheFunctionStays) {
  const std::vector<Case> cases = {
      {R"(<ir_version: 8, opset_import: ["" : 13]>
          g (float[1, 4, 6, 6] x) => (float[1, 4, 6, 6] y) <float[1] three = {3}, float six = {6}, float zero = {0}> {
            a = Conv<pads = [1, 1, 1, 1]>(x, w1, b1)
            m = Mul(c1, a)
            n = Add(m, c2)
            h3 = Add(n, three)
            hc = Clip(h3, zero, six)
            hm = Mul(n, hc)
            h = Div(hm, six)
            k = Mul(h, c3)
            l = Add(k, c4)
            y = Conv<pads = [1, 1, 1, 1], group = 2>(l, w2)
          })",
       {{"w1", {4, 4, 3, 3}},
        {"b1", {4}},
        {"c1", {1}},
        {"c2", {4, 1, 1}},
        {"c3", {1}},
        {"c4", {1}},
        {"w2", {4, 2, 3, 3}}}},
      {R"(<ir_version: 8, opset_import: ["" : 13]>
          g (float[1, 4, 6, 6] x) => (float[1, 3, 6, 6] y) {
            m = Mul(x, c1)
            n = Add(m, c2)
            y = Conv(n, w)
          })",
       {{"c1", {1, 4, 1, 1}}, {"c2", {4, 1, 1}}, {"w", {3, 4, 1, 1}}}},
      {R"(<ir_version: 8, opset_import: ["" : 13]>
          g (float[1, 4, 3, 3] x) => (float[1, 6, 6, 6] y) {
            t = ConvTranspose<strides = [2, 2], group = 2>(x, w)
            y = Add(t, c)
          })",
       {{"w", {4, 3, 2, 2}}, {"c", {6, 1, 1}}}},
  };
  const std::vector<std::vector<std::string>> expected = {
      {"Conv", "HardSigmoid", "Mul", "Add", "Conv"}, {"Conv"}, {"ConvTranspose"}};
  for (size_t i = 0; i < cases.size(); ++i) {
    TestJob job;
    WeightArena arena(&job.scratch());
    Model model = Make(cases[i]);
    const Model before = model.Clone();
    const AffineFolding folded = FoldAffine(model, arena, job.context()).value();
    EXPECT_GT(folded.into_convolutions, 0);
    std::vector<std::string> operators;
    for (const auto& node : model.proto().graph().node()) operators.push_back(node.op_type());
    EXPECT_EQ(operators, expected[i]);
    EXPECT_GT(Sqnr(before, model,
                   *OpenCalibrationSamples(before, nullptr, 0, 4, 1, job.context()).value()),
              100);
  }
}

TEST(BiasCorrectionTest, TakesTheMeanErrorOut) {
  TestJob job;
  WeightArena arena(&job.scratch());
  // All inputs are positive and the weights of one channel are all rounded down: an error with a mean.
  Model model = ModelFromText(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[1, 2, 8, 8] x) => (float[1, 1, 8, 8] y)
      <float[1, 2, 1, 1] w = {1.27, 0.0049}> { p = Abs(x) y = Conv(p, w) })");
  NameNodes(model.mutable_proto());
  const Quantized quantized = Quantize(model, job, arena);
  Model coded = quantized.model.Clone();
  const auto corrections =
      MeasureBiasCorrections(coded, model, *quantized.samples, job.context()).value();
  ASSERT_EQ(corrections.size(), 1u);
  EXPECT_EQ(corrections[0].kept, 1u);
  // E|x| of a standard normal is 0.798; the weight 0.0049 has code 0.
  EXPECT_NEAR(corrections[0].shift[0], 0.0049 * 0.798, 0.0025);
  Model shifted = model.Clone();
  ASSERT_TRUE(ShiftBiases(shifted, corrections, arena).ok());
  const auto& node = shifted.proto().graph().node(1);
  ASSERT_EQ(node.input_size(), 3);
  EXPECT_THAT(testing::Values(shifted, *testing::FindInitializer(shifted, node.input(2))),
              ElementsAre(corrections[0].shift[0]));
}

}  // namespace
}  // namespace modelpress
