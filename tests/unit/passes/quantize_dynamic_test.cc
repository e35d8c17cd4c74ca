// quantize_dynamic against the formulas, written out plainly in double precision.
#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "core/base/status.h"
#include "core/measure/convolution_speed.h"
#include "core/model/graph.h"
#include "core/quant/dynamic_layers.h"
#include "gmock/gmock.h"
#include "tests/unit/passes/run_pass.h"

namespace modelpress {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::Not;
using ::testing::UnorderedElementsAre;
using namespace testing;

std::vector<std::string> Operators(const Model& model) {
  std::vector<std::string> operators;
  ForEachGraph(model.proto(), [&](const onnx::GraphProto& graph, int) {
    for (const auto& node : graph.node()) operators.push_back(node.op_type());
  });
  return operators;
}

// x [rows, k] quantized as ONNX DynamicQuantizeLinear says, and back.
std::vector<double> RoundActivations(const std::vector<float>& x) {
  const float low = std::min(0.0f, *std::ranges::min_element(x));
  const float high = std::max(0.0f, *std::ranges::max_element(x));
  const float scale = (high - low) / 255.0f;
  const double zero = std::clamp(std::nearbyint(-low / scale), 0.0f, 255.0f);
  std::vector<double> values;
  for (const float value : x) {
    const double code = std::clamp<double>(std::nearbyint(value / scale) + zero, 0, 255);
    values.push_back((code - zero) * scale);
  }
  return values;
}

// w [k, n] to int8 or uint8 codes of each column, and back.
std::vector<double> RoundColumns(const std::vector<float>& w, size_t k, size_t n,
                                 bool is_unsigned) {
  std::vector<double> values(w.size());
  for (size_t c = 0; c < n; ++c) {
    double low = 0, high = 0;
    for (size_t r = 0; r < k; ++r) {
      low = std::min<double>(low, w[r * n + c]);
      high = std::max<double>(high, w[r * n + c]);
    }
    const double largest = std::max(-low, high);
    const float scale = static_cast<float>(is_unsigned ? (high - low) / 255 : 2 * largest / 254);
    const double zero = is_unsigned ? std::nearbyint(-low / ((high - low) / 255)) : 0;
    for (size_t r = 0; r < k; ++r) {
      const double code = std::clamp<double>(std::nearbyint(w[r * n + c] / scale) + zero,
                                             is_unsigned ? 0 : -127, is_unsigned ? 255 : 127);
      values[r * n + c] = (code - zero) * scale;
    }
  }
  return values;
}

class DynamicReferenceTest : public ::testing::TestWithParam<bool> {};

TEST_P(DynamicReferenceTest, MatMulAndGemmEqualTheFormula) {
  constexpr size_t kRows = 3, kK = 24, kN = 10;
  const bool is_unsigned = GetParam();
  std::mt19937 random(7);
  const std::vector<float> x = RandomFloats(random, kRows * kK), w = RandomFloats(random, kK * kN),
                           b = RandomFloats(random, kN);
  onnx::ModelProto proto = ParseProto(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[3, 24] x) => (float[3, 10] y, float[3, 10] z)
      { y = MatMul(x, w)
        z = Gemm <transB = 1, alpha = 0.5, beta = 3.0> (x, v, b) })");
  std::vector<float> turned(w.size());
  for (size_t r = 0; r < kK; ++r) {
    for (size_t c = 0; c < kN; ++c) turned[c * kK + r] = w[r * kN + c];
  }
  AddInitializer(proto, "w", {kK, kN}, w);
  AddInitializer(proto, "v", {kN, kK}, turned);
  AddInitializer(proto, "b", {kN}, b);
  Model model = *ReadModel(proto);
  TestJob job;
  WeightArena arena(&job.scratch());
  const auto report = RunPass(
      is_unsigned
          ? "quantize_dynamic: {type: uint8, weights: {min_elements: 1}, limits: {off: true}}"
          : "quantize_dynamic: {weights: {min_elements: 1}, limits: {off: true}}",
      &model, &job, &arena);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->changes_size(), 2);
  EXPECT_EQ(std::ranges::count(Operators(model), "DynamicQuantizeLinear"), 1);
  const TensorMap inputs = {{"x", FloatTensor({kRows, kK}, x)}};
  const std::vector<float> y = RunOnce(model, inputs, "y"), z = RunOnce(model, inputs, "z");
  const std::vector<double> xq = RoundActivations(x), wq = RoundColumns(w, kK, kN, is_unsigned);
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t c = 0; c < kN; ++c) {
      double sum = 0;
      for (size_t k = 0; k < kK; ++k) sum += xq[r * kK + k] * wq[k * kN + c];
      EXPECT_NEAR(y[r * kN + c], sum, 1e-4) << r << "," << c;
      EXPECT_NEAR(z[r * kN + c], 0.5 * sum + 3.0 * b[c], 1e-4) << r << "," << c;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, DynamicReferenceTest, ::testing::Bool());

TEST(QuantizeDynamicTest, LstmInBothDirectionsStaysClose) {
  constexpr int64_t kSteps = 5, kInput = 6, kHidden = 4, kDirections = 2;
  std::mt19937 random(3);
  onnx::ModelProto proto = ParseProto(R"(<ir_version: 8, opset_import: ["" : 14]>
      g (float[5, 2, 6] x) => (float[5, 2, 2, 4] y)
      { y = LSTM <hidden_size = 4, direction = "bidirectional"> (x, w, r, b) })");
  AddInitializer(proto, "w", {kDirections, 4 * kHidden, kInput},
                 RandomFloats(random, kDirections * 4 * kHidden * kInput));
  AddInitializer(proto, "r", {kDirections, 4 * kHidden, kHidden},
                 RandomFloats(random, kDirections * 4 * kHidden * kHidden));
  AddInitializer(proto, "b", {kDirections, 8 * kHidden},
                 RandomFloats(random, kDirections * 8 * kHidden));
  const TensorMap inputs = {
      {"x", FloatTensor({kSteps, 2, kInput}, RandomFloats(random, kSteps * 2 * kInput))}};
  for (const char* options :
       {"quantize_dynamic: {weights: {min_elements: 1}}",
        "quantize_dynamic: {granularity: per_tensor, weights: {min_elements: 1}}",
        "quantize_dynamic: {type: uint8, weights: {min_elements: 1}}"}) {
    Model model = *ReadModel(proto);
    const std::vector<float> before = RunOnce(model, inputs, "y");
    TestJob job;
    WeightArena arena(&job.scratch());
    const auto report = RunPass(options, &model, &job, &arena);
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_THAT(Operators(model), ElementsAre("DynamicQuantizeLSTM"));
    const std::vector<float> after = RunOnce(model, inputs, "y");
    ASSERT_EQ(after.size(), before.size());
    for (size_t i = 0; i < before.size(); ++i) EXPECT_NEAR(after[i], before[i], 0.05) << options;
    EXPECT_NE(after, before);
  }
}

TEST(QuantizeDynamicTest, LayersInsideAnIfShareTheirCodes) {
  Model model = ModelFromText(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (bool c, float[2, 4] x) => (float[2, 2] y)
      <float[4, 2] w = {1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9}>
      { y = If (c) <
          then_branch = t () => (float[2, 2] a) { a = MatMul(x, w) },
          else_branch = e () => (float[2, 2] b) { h = MatMul(x, w) b = Relu(h) }> })");
  TestJob job;
  WeightArena arena(&job.scratch());
  const auto report =
      RunPass("quantize_dynamic: {weights: {min_elements: 1}}", &model, &job, &arena);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(std::ranges::count(Operators(model), "MatMulInteger"), 2);
  std::vector<std::string> names;
  for (const auto& tensor : model.proto().graph().initializer()) names.push_back(tensor.name());
  EXPECT_THAT(names, UnorderedElementsAre("w_quantized", "w_scale"));
  const auto session = Session::Create(model, {});
  EXPECT_TRUE(session.ok()) << session.status();
}

TEST(QuantizeDynamicTest, ALayerThatCostsTooMuchStaysFloat) {
  // A constant channel of 10,000 takes all the codes; the weights do not read it.
  onnx::ModelProto proto = ParseProto(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[4, 8] x) => (float[4, 8] y, float[4, 8] z)
      <float[4, 1] large = {10000, 10000, 10000, 10000}>
      { wide = Concat <axis = 1> (x, large)
        y = MatMul(wide, bad)
        z = MatMul(x, good) })");
  std::mt19937 random(5);
  std::vector<float> bad = RandomFloats(random, 9 * 8);
  std::fill(bad.end() - 8, bad.end(), 0.0f);
  AddInitializer(proto, "bad", {9, 8}, bad);
  AddInitializer(proto, "good", {8, 8}, RandomFloats(random, 64));
  for (const bool guarded : {true, false}) {
    Model model = *ReadModel(proto);
    TestJob job;
    WeightArena arena(&job.scratch());
    const auto report =
        RunPass(guarded ? "quantize_dynamic: {weights: {min_elements: 1}, other_weights: false}"
                        : "quantize_dynamic: {weights: {min_elements: 1}, limits: {off: true}}",
                &model, &job, &arena);
    ASSERT_TRUE(report.ok()) << report.status();
    std::set<std::string> changed, too_much;
    for (const Change& change : report->changes()) changed.insert(change.tensor());
    for (const Skip& skip : report->skips()) {
      if (skip.reason() == "loss_too_large") too_much.insert(skip.tensor());
    }
    if (guarded) {
      EXPECT_THAT(changed, ElementsAre("good"));
      EXPECT_THAT(too_much, ElementsAre("bad"));
      EXPECT_TRUE(report->changes(0).has_model_sqnr_db());
    } else {
      EXPECT_THAT(changed, ElementsAre("bad", "good"));
      EXPECT_THAT(too_much, IsEmpty());
    }
  }
}

TEST(QuantizeDynamicTest, AFoldedWeightThatStaysFloatIsNotStoredTwice) {
  onnx::ModelProto proto = ParseProto(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[4, 8] x, int64[1] i) => (float[4, 8] y, float[4, 8] z, float[1, 9] e)
      <float[4, 1] large = {10000, 10000, 10000, 10000}>
      { wide = Concat <axis = 1> (x, large)
        t = Transpose <perm = [1, 0]> (tied)
        y = MatMul(wide, t)
        z = MatMul(x, good)
        e = Gather(tied, i) })");
  std::mt19937 random(5);
  std::vector<float> tied = RandomFloats(random, 8 * 9);
  for (size_t r = 0; r < 8; ++r) tied[r * 9 + 8] = 0;
  AddInitializer(proto, "tied", {8, 9}, tied);
  AddInitializer(proto, "good", {8, 8}, RandomFloats(random, 64));
  for (const bool others : {true, false}) {
    Model model = *ReadModel(proto);
    TestJob job;
    WeightArena arena(&job.scratch());
    const auto report =
        RunPass(others ? "quantize_dynamic: {weights: {min_elements: 1}}"
                       : "quantize_dynamic: {weights: {min_elements: 1}, other_weights: false}",
                &model, &job, &arena);
    ASSERT_TRUE(report.ok()) << report.status();
    std::vector<std::string> names;
    for (const auto& tensor : model.proto().graph().initializer()) names.push_back(tensor.name());
    EXPECT_THAT(names, IsSupersetOf({"large", "good_quantized", "good_scale"}));
    EXPECT_EQ(std::ranges::count(names, "tied"), !others);
    EXPECT_EQ(std::ranges::count(names, "tied_quantized"), others);
    EXPECT_THAT(names, Not(Contains("tied_folded")));
    EXPECT_THAT(Operators(model), Contains("Transpose"));
  }
}

// A Conv, a table and a layer that loses too much in integers: decoded once, at load.
TEST(QuantizeDynamicTest, OtherWeightsAreStoredAsCodes) {
  onnx::ModelProto proto = ParseProto(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[1, 3, 5, 5] x, int64[2] i) => (float[1, 6, 3, 3] y, float[2, 4] e)
      { y = Conv(x, kernel, bias) e = Gather(table, i) })");
  std::mt19937 random(5);
  const std::vector<float> kernel = RandomFloats(random, 6 * 3 * 3 * 3);
  AddInitializer(proto, "kernel", {6, 3, 3, 3}, kernel);
  AddInitializer(proto, "bias", {6}, RandomFloats(random, 6));
  AddInitializer(proto, "table", {7, 4}, RandomFloats(random, 28));
  Model model = *ReadModel(proto);
  TensorMap inputs = {{"x", FloatTensor({1, 3, 5, 5}, RandomFloats(random, 75))}};
  std::span<std::byte> bytes;
  inputs.emplace("i", *Tensor::Make(DataType::kInt64, {2}, &bytes));
  const std::vector<float> y = RunOnce(model, inputs, "y"), e = RunOnce(model, inputs, "e");
  TestJob job;
  WeightArena arena(&job.scratch());
  const auto report =
      RunPass("quantize_dynamic: {weights: {min_elements: 1}}", &model, &job, &arena);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_THAT(Operators(model), Not(Contains("DequantizeLinear")));
  std::set<std::string> changed;
  for (const Change& change : report->changes()) changed.insert(change.tensor());
  EXPECT_THAT(changed, ElementsAre("kernel", "table"));
  const onnx::TensorProto* codes = FindInitializer(model, "kernel_quantized");
  ASSERT_NE(codes, nullptr);
  const std::vector<double> values = Values(model, *codes);
  for (size_t c = 0; c < 6; ++c) {
    double largest = 0;
    for (size_t k = 0; k < 27; ++k) {
      largest = std::max<double>(largest, std::abs(kernel[c * 27 + k]));
    }
    for (size_t k = 0; k < 27; ++k) {
      EXPECT_NEAR(values[c * 27 + k], kernel[c * 27 + k] / largest * 127, 0.5001);
    }
  }
  const std::vector<float> new_y = RunOnce(model, inputs, "y"), new_e = RunOnce(model, inputs, "e");
  for (size_t i = 0; i < y.size(); ++i) EXPECT_NEAR(new_y[i], y[i], 0.2);
  for (size_t i = 0; i < e.size(); ++i) EXPECT_NEAR(new_e[i], e[i], 0.02);
}

// Groups, padding (which is the activation's zero point, not code 0), strides and a bias.
TEST(DynamicLayersTest, AConvInIntegersEqualsTheFormula) {
  constexpr int kIn = 4, kOut = 6, kGroups = 2, kSide = 5, kResult = 3;
  std::mt19937 random(8);
  const std::vector<float> x = RandomFloats(random, kIn * kSide * kSide),
                           w = RandomFloats(random, kOut * kIn / kGroups * 9),
                           b = RandomFloats(random, kOut);
  onnx::ModelProto proto = ParseProto(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[1, 4, 5, 5] x) => (float[1, 6, 3, 3] y)
      { y = Conv <group = 2, pads = [1, 1, 1, 1], strides = [2, 2]> (x, w, b) })");
  AddInitializer(proto, "w", {kOut, kIn / kGroups, 3, 3}, w);
  AddInitializer(proto, "b", {kOut}, b);
  Model model = *ReadModel(proto);
  TestJob job;
  WeightArena arena(&job.scratch());
  WeightSelection selection;
  const GraphIndex index(model.mutable_proto());
  selection.set_min_elements(1);
  const auto found = FindDynamicLayers(model, index, selection, /*convolutions=*/true);
  ASSERT_TRUE(found.ok()) << found.status();
  ASSERT_EQ(found->layers.size(), 1u);
  const auto weight = EncodeDynamicWeight(model, found->weights[0], found->layouts[0], AffineRule{},
                                          /*per_channel=*/true, arena, job.context(), nullptr);
  ASSERT_TRUE(weight.ok()) << weight.status();
  ASSERT_TRUE(QuantizeDynamicLayers(model, {*weight}, {&found->layers[0]}, arena).ok());
  EXPECT_THAT(Operators(model), Contains("ConvInteger"));
  const std::vector<float> y = RunOnce(model, {{"x", FloatTensor({1, kIn, kSide, kSide}, x)}}, "y");
  ASSERT_EQ(y.size(), static_cast<size_t>(kOut * kResult * kResult));
  const std::vector<double> xq = RoundActivations(x);
  for (int o = 0; o < kOut; ++o) {
    const int per_group = kIn / kGroups, first = o / (kOut / kGroups) * per_group;
    double largest = 0;
    for (int i = 0; i < per_group * 9; ++i) {
      largest = std::max<double>(largest, std::abs(w[o * per_group * 9 + i]));
    }
    const float scale = static_cast<float>(2 * largest / 254);
    for (int r = 0; r < kResult; ++r) {
      for (int c = 0; c < kResult; ++c) {
        double sum = b[o];
        for (int i = 0; i < per_group; ++i) {
          for (int k = 0; k < 9; ++k) {
            const int row = 2 * r - 1 + k / 3, column = 2 * c - 1 + k % 3;
            if (row < 0 || row >= kSide || column < 0 || column >= kSide) continue;
            const double code = std::nearbyint(w[(o * per_group + i) * 9 + k] / scale) * scale;
            sum += code * xq[((first + i) * kSide + row) * kSide + column];
          }
        }
        EXPECT_NEAR(y[(o * kResult + r) * kResult + c], sum, 1e-4);
      }
    }
  }
}

// Timed alone and then as a whole: each Conv is faster in integers and says by how much, or is stored as
// codes, as it is without the option. Which of the two is the machine's to say.
TEST(QuantizeDynamicTest, ConvolutionsRunInIntegersOnlyWhereTimed) {
  std::mt19937 random(9);
  onnx::ModelProto proto = ParseProto(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[1, 8, 12, 12] x) => (float[1, 16, 12, 12] y)
      { h = Conv (x, v)
        y = Conv <pads = [1, 1, 1, 1]> (h, w) })");
  AddInitializer(proto, "v", {32, 8, 1, 1}, RandomFloats(random, 32 * 8));
  AddInitializer(proto, "w", {16, 32, 3, 3}, RandomFloats(random, 16 * 32 * 9));
  Model model = *ReadModel(proto);
  TestJob job;
  WeightArena arena(&job.scratch());
  const auto report = RunPass(
      "quantize_dynamic: {convolutions: faster, weights: {min_elements: 1}, limits: {off: true}}",
      &model, &job, &arena);
  ASSERT_TRUE(report.ok()) << report.status();
  ASSERT_EQ(report->changes_size(), 2);
  int64_t timed = 0;
  for (const Change& change : report->changes()) {
    timed += change.what().find("of the float time here") != std::string::npos;
  }
  const std::vector<std::string> operators = Operators(model);
  EXPECT_EQ(std::ranges::count(operators, "ConvInteger"), timed);
  EXPECT_EQ(std::ranges::count(operators, "Conv"), 2 - timed);
}

TEST(QuantizeDynamicTest, SlowConvolutionsAreThoseTimedAboveTheBorder) {
  std::mt19937 random(10);
  onnx::ModelProto proto = ParseProto(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[1, 4, 9, 9] x) => (float[1, 8, 7, 7] y) { y = Conv (x, w) })");
  AddInitializer(proto, "w", {8, 4, 3, 3}, RandomFloats(random, 8 * 4 * 9));
  Model model = *ReadModel(proto);
  TestJob job;
  WeightArena arena(&job.scratch());
  WeightSelection selection;
  selection.set_min_elements(1);
  const GraphIndex index(model.mutable_proto());
  const DynamicLayers found = *FindDynamicLayers(model, index, selection, /*convolutions=*/true);
  ASSERT_EQ(found.layers.size(), 1u);
  const auto weight = EncodeDynamicWeight(model, found.weights[0], found.layouts[0], AffineRule{},
                                          /*per_channel=*/true, arena, job.context(), nullptr);
  ASSERT_TRUE(weight.ok()) << weight.status();
  std::vector<DynamicUnit> units = MakeDynamicUnits(found, {true});
  const auto samples = MakeSyntheticSamples(model, 1, 1).value();
  const absl::Status timed =
      LeaveOutSlowConvolutions(model, {*weight}, *samples, arena, job.context(), &units);
  ASSERT_TRUE(timed.ok()) << timed;
  ASSERT_TRUE(units[0].time_ratio.has_value());
  EXPECT_GT(*units[0].time_ratio, 0);
  EXPECT_EQ(units[0].chosen, *units[0].time_ratio <= 0.8);
}

struct SkipCase {
  std::string name, text, tensor, reason;
};

class DynamicSkipTest : public ::testing::TestWithParam<SkipCase> {};

TEST_P(DynamicSkipTest, SaysWhy) {
  Model model = ModelFromText(GetParam().text);
  TestJob job;
  WeightArena arena(&job.scratch());
  const auto report = RunPass(
      "{quantize_dynamic: {weights: {min_elements: 1}, other_weights: false}, "
      "allow_no_change: true}",
      &model, &job, &arena);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->changes_size(), 0);
  std::vector<std::pair<std::string, std::string>> skips;
  for (const Skip& skip : report->skips()) skips.emplace_back(skip.tensor(), skip.reason());
  EXPECT_THAT(skips, Contains(std::pair(GetParam().tensor, GetParam().reason)));
}

INSTANTIATE_TEST_SUITE_P(
    Reasons, DynamicSkipTest,
    ::testing::Values(SkipCase{"Conv", R"(<ir_version: 8, opset_import: ["" : 13]>
                 g (float[1, 1, 4] x) => (float[1, 1, 2] y)
                 <float[1, 1, 3] w = {1, 2, 3}> { y = Conv(x, w) })",
                               "w", "slower"},
                      SkipCase{"Gru", R"(<ir_version: 8, opset_import: ["" : 14]>
                 g (float[1, 1, 1] x) => (float[1, 1, 1, 1] y)
                 <float[1, 3, 1] w = {1, 2, 3}, float[1, 3, 1] r = {1, 2, 3}>
                 { y = GRU <hidden_size = 1> (x, w, r) })",
                               "w", "operator_needs_float"},
                      SkipCase{"LeftSide", R"(<ir_version: 8, opset_import: ["" : 13]>
                 g (float[2, 2] x) => (float[2, 2] y)
                 <float[2, 2] w = {1, 2, 3, 4}> { y = MatMul(w, x) })",
                               "w", "operator_needs_float"},
                      SkipCase{"TiedEmbedding", R"(<ir_version: 8, opset_import: ["" : 13]>
                 g (float[2, 2] x, int64[1] i) => (float[2, 2] y, float[1, 2] z)
                 <float[2, 2] w = {1, 2, 3, 4}> { y = MatMul(x, w) z = Gather(w, i) })",
                               "w", "other_readers"},
                      SkipCase{"Vector", R"(<ir_version: 8, opset_import: ["" : 13]>
                 g (float[2, 2] x) => (float[2] y)
                 <float[2] w = {1, 2}> { y = MatMul(x, w) })",
                               "w", "no_channel_axis"}),
    [](const auto& info) { return info.param.name; });

TEST(QuantizeDynamicTest, AWeightThatIsNotFiniteStaysFloat) {
  onnx::ModelProto proto = ParseProto(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[2, 2] x) => (float[2, 2] y) { y = MatMul(x, w) })");
  AddInitializer(proto, "w", {2, 2}, {1, 2, 3, std::numeric_limits<float>::infinity()});
  Model model = *ReadModel(proto);
  TestJob job;
  WeightArena arena(&job.scratch());
  const auto report = RunPass(
      "{quantize_dynamic: {weights: {min_elements: 1}, other_weights: false}, "
      "allow_no_change: true}",
      &model, &job, &arena);
  ASSERT_TRUE(report.ok()) << report.status();
  ASSERT_EQ(report->skips_size(), 1);
  EXPECT_EQ(report->skips(0).reason(), "not_finite");
}

TEST(QuantizeDynamicTest, NothingQuantizedIsAnError) {
  Model model = ModelFromText(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[1, 1, 4] x) => (float[1, 1, 2] y)
      <float[1, 1, 3] w = {1, 2, 3}> { y = Conv(x, w) })");
  TestJob job;
  WeightArena arena(&job.scratch());
  const auto report = RunPass("quantize_dynamic: {}", &model, &job, &arena);
  EXPECT_EQ(ReasonOf(report.status()), ERROR_REASON_NOTHING_CHANGED);
}

}  // namespace
}  // namespace modelpress
