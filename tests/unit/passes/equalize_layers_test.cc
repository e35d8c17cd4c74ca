// equalize_layers: the function stays, and the factors are those of Nagel et al. 2019.
#include <algorithm>
#include <cmath>

#include "core/base/status.h"
#include "core/model/graph.h"
#include "gmock/gmock.h"
#include "tests/unit/data/data_builders.h"
#include "tests/unit/passes/run_pass.h"

namespace modelpress {
namespace {

using namespace testing;

// Channels of very different size.
std::vector<float> Uneven(std::mt19937& random, size_t channels, size_t each) {
  std::uniform_real_distribution<float> exponent(-5, 0);
  std::vector<float> values = RandomFloats(random, channels * each);
  for (size_t c = 0; c < channels; ++c) {
    const float scale = std::exp2(exponent(random));
    for (size_t i = 0; i < each; ++i) values[c * each + i] *= scale;
  }
  return values;
}

struct Network {
  std::string name, text;
  // Weights: name, shape.
  std::vector<std::pair<std::string, std::vector<int64_t>>> weights;
};

class EqualizedFunctionTest : public ::testing::TestWithParam<Network> {};

TEST_P(EqualizedFunctionTest, StaysUpToFloatRounding) {
  for (uint32_t seed = 1; seed <= 5; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    onnx::ModelProto proto = ParseProto(GetParam().text);
    for (const auto& [name, dims] : GetParam().weights) {
      size_t each = 1;
      for (size_t i = 1; i < dims.size(); ++i) each *= dims[i];
      AddInitializer(proto, name, dims, Uneven(random, dims[0], each));
    }
    Model model = *ReadModel(proto);
    TensorMap inputs;
    for (const ValueInfo& input : DeclaredInputs(model)) {
      size_t count = 1;
      for (const int64_t extent : input.dims) count *= extent;
      inputs.emplace(input.name, FloatTensor(input.dims, RandomFloats(random, count)));
    }
    const std::vector<float> before = RunOnce(model, inputs, "y");
    TestJob job;
    WeightArena arena(&job.scratch());
    const auto report = RunPass("equalize_layers: {clips: exact}", &model, &job, &arena);
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_GT(report->changes_size(), 0);
    const std::vector<float> after = RunOnce(model, inputs, "y");
    ASSERT_EQ(after.size(), before.size());
    double largest = 0;
    for (const float value : before) largest = std::max<double>(largest, std::abs(value));
    for (size_t i = 0; i < before.size(); ++i) {
      EXPECT_NEAR(after[i], before[i], 1e-5 * largest + 1e-7);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Networks, EqualizedFunctionTest,
    ::testing::Values(
        Network{"ReluBetweenConvs",
                R"(<ir_version: 8, opset_import: ["" : 13]>
                g (float[2, 3, 6, 6] x) => (float[2, 4, 4, 4] y)
                { h = Conv <pads = [1, 1, 1, 1]> (x, a, ab) r = Relu(h) y = Conv(r, b) })",
                {{"a", {8, 3, 3, 3}}, {"ab", {8}}, {"b", {4, 8, 3, 3}}}},
        Network{"InvertedResidual",
                R"(<ir_version: 8, opset_import: ["" : 13]>
                g (float[1, 3, 6, 6] x) => (float[1, 5] y)
                <float low = {0}, float high = {6}>
                { s = Conv(x, stem, stemb)
                  e = Conv(s, expand, expandb)
                  e6 = Clip(e, low, high)
                  d = Conv <group = 12, pads = [1, 1, 1, 1]> (e6, depth, depthb)
                  d6 = Clip(d, low, high)
                  p = Conv(d6, project, projectb)
                  sum = Add(s, p)
                  m = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (sum)
                  g = GlobalAveragePool(m)
                  f = Flatten(g)
                  y = Gemm <transB = 1> (f, head, headb) })",
                {{"stem", {6, 3, 1, 1}},
                 {"stemb", {6}},
                 {"expand", {12, 6, 1, 1}},
                 {"expandb", {12}},
                 {"depth", {12, 1, 3, 3}},
                 {"depthb", {12}},
                 {"project", {6, 12, 1, 1}},
                 {"projectb", {6}},
                 {"head", {5, 6}},
                 {"headb", {5}}}},
        Network{"GroupedAndTransposed",
                R"(<ir_version: 8, opset_import: ["" : 13]>
                g (float[1, 4, 5, 5] x) => (float[1, 2, 5, 5] y)
                { h = Conv <group = 2> (x, a)
                  l = LeakyRelu <alpha = 0.1> (h)
                  t = ConvTranspose <group = 2> (l, b, bb)
                  y = Conv(t, c) })",
                {{"a", {6, 2, 1, 1}}, {"b", {6, 3, 1, 1}}, {"bb", {6}}, {"c", {2, 6, 1, 1}}}},
        Network{"MatMulsWithBiases",
                R"(<ir_version: 8, opset_import: ["" : 13]>
                g (float[2, 3, 4] x) => (float[2, 3, 5] y)
                { h = MatMul(x, a)
                  i = Add(h, ab)
                  r = Relu(i)
                  j = MatMul(r, b)
                  y = Add(j, bb) })",
                {{"a", {4, 8}}, {"ab", {8}}, {"b", {8, 5}}, {"bb", {5}}}},
        Network{"GateOfASqueeze",
                R"(<ir_version: 8, opset_import: ["" : 13]>
                g (float[1, 3, 4, 4] x) => (float[1, 2, 4, 4] y)
                { h = Conv(x, a)
                  p = GlobalAveragePool(h)
                  q = Conv(p, s)
                  gate = Sigmoid(q)
                  m = Mul(h, gate)
                  y = Conv(m, b) })",
                {{"a", {6, 3, 1, 1}}, {"s", {6, 6, 1, 1}}, {"b", {2, 6, 1, 1}}}}),
    [](const auto& info) { return info.param.name; });

TEST(EqualizeLayersTest, FactorsAreThoseOfThePaper) {
  constexpr size_t kIn = 3, kMiddle = 7, kOut = 4;
  std::mt19937 random(11);
  const std::vector<float> a = Uneven(random, kMiddle, kIn);
  const std::vector<float> b = RandomFloats(random, kOut * kMiddle);
  onnx::ModelProto proto = ParseProto(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[1, 3, 2, 2] x) => (float[1, 4, 2, 2] y) { h = Conv(x, a) r = Relu(h) y = Conv(r, b) })");
  AddInitializer(proto, "a", {kMiddle, kIn, 1, 1}, a);
  AddInitializer(proto, "b", {kOut, kMiddle, 1, 1}, b);
  // s_c = sqrt(r1_c r2_c) / r2_c; W1 / s, W2 s. One factor common to all channels is free.
  std::vector<double> factor(kMiddle);
  double mean_log = 0;
  for (size_t c = 0; c < kMiddle; ++c) {
    double r1 = 0, r2 = 0;
    for (size_t i = 0; i < kIn; ++i) r1 = std::max<double>(r1, std::abs(a[c * kIn + i]));
    for (size_t o = 0; o < kOut; ++o) r2 = std::max<double>(r2, std::abs(b[o * kMiddle + c]));
    factor[c] = 1 / (std::sqrt(r1 * r2) / r2);
    mean_log += std::log(factor[c]) / kMiddle;
  }
  Model model = *ReadModel(proto);
  TestJob job;
  WeightArena arena(&job.scratch());
  const auto report = RunPass("equalize_layers: {}", &model, &job, &arena);
  ASSERT_TRUE(report.ok()) << report.status();
  const std::vector<double> new_a = Values(model, *FindInitializer(model, "a"));
  const std::vector<double> new_b = Values(model, *FindInitializer(model, "b"));
  for (size_t c = 0; c < kMiddle; ++c) {
    const double by = factor[c] / std::exp(mean_log);
    for (size_t i = 0; i < kIn; ++i) {
      EXPECT_NEAR(new_a[c * kIn + i], a[c * kIn + i] * by, 1e-5 * std::abs(new_a[c * kIn + i]));
    }
    for (size_t o = 0; o < kOut; ++o) {
      const size_t at = o * kMiddle + c;
      EXPECT_NEAR(new_b[at], b[at] / by, 1e-5 * std::abs(new_b[at]));
    }
  }
}

TEST(EqualizeLayersTest, StopsWhereAFactorWouldShow) {
  for (const char* between : {"r = Tanh(h)", "r = Softmax(h)", "r = Add(h, one)"}) {
    Model model = ModelFromText(std::string(R"(<ir_version: 8, opset_import: ["" : 13]>
        g (float[1, 1, 2, 2] x) => (float[1, 1, 2, 2] y)
        <float[2, 1, 1, 1] a = {0.5, -20}, float[1, 2, 1, 1] b = {3, 0.2}, float one = {1}>
        { h = Conv(x, a) )") + between +
                                " y = Conv(r, b) }");
    TestJob job;
    WeightArena arena(&job.scratch());
    const auto report =
        RunPass("{equalize_layers: {}, allow_no_change: true}", &model, &job, &arena);
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_EQ(report->changes_size(), 0) << between;
    EXPECT_GT(report->skips_size(), 0) << between;
  }
}

TEST(EqualizeLayersTest, OnlyChannelsThatStayBelowAClipAreScaled) {
  // On inputs in 0..1 channel 1 reaches the bound, the others do not.
  const std::vector<float> a = {0.5f, 20, 1, -0.25f}, b = {3, 0.2f, 0.01f, 1};
  onnx::ModelProto proto = ParseProto(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[N, 1, 2, 2] x) => (float[N, 1, 2, 2] y)
      <float low = {0}, float high = {6}>
      { h = Conv(x, a) r = Clip(h, low, high) y = Conv(r, b) })");
  AddInitializer(proto, "a", {4, 1, 1, 1}, a);
  AddInitializer(proto, "b", {1, 4, 1, 1}, b);
  std::mt19937 random(3);
  std::uniform_real_distribution<float> uniform(0, 1);
  std::vector<float> x(8 * 4);
  for (float& value : x) value = uniform(random);
  x[0] = 1;
  DataFolder folder;
  folder.Write("calib/x.npy", FloatNpy({8, 1, 2, 2}, x));
  TestJob job;
  const auto data = DataSet::Open(folder.path(), &job.scratch());
  ASSERT_TRUE(data.ok()) << data.status();
  Model model = *ReadModel(proto);
  const TensorMap inputs = {{"x", FloatTensor({8, 1, 2, 2}, x)}};
  const std::vector<float> before = RunOnce(model, inputs, "y");
  WeightArena arena(&job.scratch());
  const auto report = RunPass("equalize_layers: {}", &model, &job, &arena, data->get());
  ASSERT_TRUE(report.ok()) << report.status();
  const std::vector<double> new_a = Values(model, *FindInitializer(model, "a"));
  EXPECT_FLOAT_EQ(new_a[1], 20);
  EXPECT_NE(new_a[0], a[0]);
  for (const size_t c : {0, 2, 3}) EXPECT_LE(new_a[c], 6) << c;
  const std::vector<float> after = RunOnce(model, inputs, "y");
  for (size_t i = 0; i < before.size(); ++i) EXPECT_NEAR(after[i], before[i], 1e-5);
}

TEST(EqualizeLayersTest, AProofNeedsData) {
  Model model = ModelFromText(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[1, 1, 2, 2] x) => (float[1, 1, 2, 2] y)
      <float[2, 1, 1, 1] a = {0.5, -20}, float[1, 2, 1, 1] b = {3, 0.2}>
      { h = Conv(x, a) y = Conv(h, b) })");
  TestJob job;
  WeightArena arena(&job.scratch());
  EXPECT_EQ(ReasonOf(RunPass("equalize_layers: {clips: proved}", &model, &job, &arena).status()),
            ERROR_REASON_DATA_MISSING);
}

TEST(EqualizeLayersTest, WithoutDataAClipEndsTheGroup) {
  Model model = ModelFromText(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[1, 1, 2, 2] x) => (float[1, 1, 2, 2] y)
      <float[2, 1, 1, 1] a = {0.5, -20}, float[1, 2, 1, 1] b = {3, 0.2}, float low = {0},
       float high = {6}>
      { h = Conv(x, a) r = Clip(h, low, high) y = Conv(r, b) })");
  TestJob job;
  WeightArena arena(&job.scratch());
  EXPECT_EQ(ReasonOf(RunPass("equalize_layers: {}", &model, &job, &arena).status()),
            ERROR_REASON_NOTHING_CHANGED);
}

}  // namespace
}  // namespace modelpress
