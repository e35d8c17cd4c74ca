// smooth_activations: the function stays, and the scales are those of Xiao et al. 2022.
#include <algorithm>
#include <cmath>

#include "core/base/status.h"
#include "core/data/samples.h"
#include "core/model/graph.h"
#include "gmock/gmock.h"
#include "tests/unit/passes/run_pass.h"

namespace modelpress {
namespace {

using namespace testing;

struct Network {
  std::string name, text;
  // Number of Muls after smoothing.
  int64_t muls = 0;
};

class SmoothedFunctionTest : public ::testing::TestWithParam<Network> {};

TEST_P(SmoothedFunctionTest, StaysUpToFloatRounding) {
  for (uint32_t seed = 1; seed <= 5; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    onnx::ModelProto proto = ParseProto(GetParam().text);
    // Two channels of the norm are large, as in trained transformers.
    std::vector<float> g = RandomFloats(random, 8), b = RandomFloats(random, 8);
    for (const size_t c : {2, 5}) {
      g[c] *= 50;
      b[c] *= 50;
    }
    AddInitializer(proto, "g", {8}, g);
    AddInitializer(proto, "b", {8}, b);
    AddInitializer(proto, "p", {6, 8}, RandomFloats(random, 48));
    AddInitializer(proto, "w", {8, 5}, RandomFloats(random, 40));
    AddInitializer(proto, "v", {5, 8}, RandomFloats(random, 40));
    Model model = *ReadModel(proto);
    RemoveDead(model.mutable_proto());
    TensorMap inputs;
    for (const ValueInfo& input : DeclaredInputs(model)) {
      size_t count = 1;
      for (const int64_t extent : input.dims) count *= extent;
      inputs.emplace(input.name, FloatTensor(input.dims, RandomFloats(random, count)));
    }
    const std::vector<float> before = RunOnce(model, inputs, "y");
    TestJob job;
    WeightArena arena(&job.scratch());
    const auto report = RunPass("smooth_activations: {alpha: 0.6}", &model, &job, &arena);
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_GT(report->changes_size(), 0);
    int64_t muls = 0;
    for (const auto& node : model.proto().graph().node()) muls += node.op_type() == "Mul";
    EXPECT_EQ(muls, GetParam().muls);
    const std::vector<float> after = RunOnce(model, inputs, "y");
    double largest = 0;
    for (const float value : before) largest = std::max<double>(largest, std::abs(value));
    ASSERT_EQ(after.size(), before.size());
    for (size_t i = 0; i < before.size(); ++i) EXPECT_NEAR(after[i], before[i], 1e-5 * largest);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Networks, SmoothedFunctionTest,
    ::testing::Values(Network{"Norm", R"(<ir_version: 8, opset_import: ["" : 17]>
                g (float[2, 3, 8] x) => (float[2, 3, 5] y)
                { n = LayerNormalization(x, g, b) y = MatMul(n, w) })"},
                      Network{"NormAsMulAndAdd", R"(<ir_version: 8, opset_import: ["" : 13]>
                g (float[2, 3, 8] x) => (float[2, 3, 5] y)
                { t = Tanh(x) m = Mul(t, g) n = Add(m, b) y = MatMul(n, w) })",
                              1},
                      Network{"NormReadByTwo", R"(<ir_version: 8, opset_import: ["" : 17]>
                g (float[3, 8] x) => (float[3, 5] y)
                { n = LayerNormalization(x, g, b) h = MatMul(n, w)
                  k = Gemm <transB = 1> (n, v) y = Add(h, k) })"},
                      Network{"MatMulBefore", R"(<ir_version: 8, opset_import: ["" : 13]>
                g (float[2, 6] x) => (float[2, 5] y)
                { h = MatMul(x, p) i = Add(h, b) r = Relu(i) y = MatMul(r, w) })",
                              1},  // for x, an input
                      Network{"ScalarMul", R"(<ir_version: 8, opset_import: ["" : 13]>
                g (float[2, 8] x) => (float[2, 5] y) <float half = {0.5}>
                { t = Erf(x) q = Mul(t, half) y = MatMul(q, w) })",
                              1},
                      Network{"Divisor", R"(<ir_version: 8, opset_import: ["" : 13]>
                g (float[2, 8] x) => (float[2, 5] y)
                { t = Erf(x) q = Div(t, g) y = Gemm <transB = 1> (q, v) })"},
                      Network{"OtherReaders", R"(<ir_version: 8, opset_import: ["" : 17]>
                g (float[2, 8] x) => (float[2, 5] y, float[2, 8] n)
                { n = LayerNormalization(x, g, b) y = MatMul(n, w) })",
                              1},
                      Network{"InsideAnIf", R"(<ir_version: 8, opset_import: ["" : 17]>
                g (float[2, 8] x) => (float[2, 5] y) <bool yes = {1}>
                { y = If (yes) <
                    then_branch = t () => (float[2, 5] a)
                      { n = LayerNormalization(x, g, b) a = MatMul(n, w) },
                    else_branch = e () => (float[2, 5] c) { k = Gemm <transB = 1> (x, v) c = Relu(k) }> })"}),
    [](const auto& info) { return info.param.name; });

TEST(SmoothActivationsTest, ScalesAreThoseOfThePaper) {
  constexpr size_t kChannels = 8, kColumns = 5;
  constexpr double kAlpha = 0.4;
  std::mt19937 random(9);
  onnx::ModelProto proto = ParseProto(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[3, 8] x) => (float[3, 5] y) { y = MatMul(x, w) })");
  const std::vector<float> w = RandomFloats(random, kChannels * kColumns);
  AddInitializer(proto, "w", {kChannels, kColumns}, w);
  Model model = *ReadModel(proto);
  // The pass calibrates on these, but for every fifth.
  const auto samples = MakeSyntheticSamples(model, 16, 0);
  ASSERT_TRUE(samples.ok());
  std::vector<double> value_max(kChannels, 0.0), weight_max(kChannels, 0.0), s(kChannels);
  for (uint64_t i = 0; i < (*samples)->batches(); ++i) {
    if (i % 5 == 4) continue;
    const auto batch = (*samples)->Read(i);
    ASSERT_TRUE(batch.ok());
    const auto x = batch->inputs.at("x").as<float>();
    for (size_t e = 0; e < x.size(); ++e) {
      value_max[e % kChannels] = std::max<double>(value_max[e % kChannels], std::abs(x[e]));
    }
  }
  double mean_log = 0;
  for (size_t j = 0; j < kChannels; ++j) {
    for (size_t n = 0; n < kColumns; ++n) {
      weight_max[j] = std::max<double>(weight_max[j], std::abs(w[j * kColumns + n]));
    }
    s[j] = std::pow(value_max[j], kAlpha) / std::pow(weight_max[j], 1 - kAlpha);
    mean_log += std::log(s[j]) / kChannels;
  }
  TestJob job;
  WeightArena arena(&job.scratch());
  const auto report = RunPass("smooth_activations: {alpha: 0.4}", &model, &job, &arena);
  ASSERT_TRUE(report.ok()) << report.status();
  const std::vector<double> smooth = Values(model, *FindInitializer(model, "w"));
  for (size_t j = 0; j < kChannels; ++j) {
    for (size_t n = 0; n < kColumns; ++n) {
      const double expected = w[j * kColumns + n] * s[j] / std::exp(mean_log);
      EXPECT_NEAR(smooth[j * kColumns + n], expected, 1e-5 * std::abs(expected));
    }
  }
}

TEST(SmoothActivationsTest, TheBestAlphaOfAnOutlierBeatsPlainRounding) {
  std::mt19937 random(13);
  onnx::ModelProto proto = ParseProto(R"(<ir_version: 8, opset_import: ["" : 17]>
      g (float[4, 16] x) => (float[4, 32] y) { n = LayerNormalization(x, g, b) y = MatMul(n, w) })");
  std::vector<float> g(16, 1.0f), w = RandomFloats(random, 16 * 32);
  g[3] = 60;
  for (size_t n = 0; n < 32; ++n) w[3 * 32 + n] /= 60;
  AddInitializer(proto, "g", {16}, g);
  AddInitializer(proto, "b", {16}, std::vector<float>(16, 0.0f));
  AddInitializer(proto, "w", {16, 32}, w);
  Model model = *ReadModel(proto);
  TestJob job;
  WeightArena arena(&job.scratch());
  const auto report = RunPass("smooth_activations: {}", &model, &job, &arena);
  ASSERT_TRUE(report.ok()) << report.status();
  ASSERT_EQ(report->changes_size(), 1);
  EXPECT_GT(report->changes(0).sqnr_db(), report->changes(0).plain_sqnr_db() + 10);
}

TEST(SmoothActivationsTest, AnEvenLayerIsLeftAlone) {
  std::mt19937 random(13);
  onnx::ModelProto proto = ParseProto(R"(<ir_version: 8, opset_import: ["" : 17]>
      g (float[4, 16] x) => (float[4, 32] y) { y = MatMul(x, w) })");
  AddInitializer(proto, "w", {16, 32}, RandomFloats(random, 16 * 32));
  Model model = *ReadModel(proto);
  TestJob job;
  WeightArena arena(&job.scratch());
  EXPECT_EQ(ReasonOf(RunPass("smooth_activations: {}", &model, &job, &arena).status()),
            ERROR_REASON_NOTHING_CHANGED);
}

}  // namespace
}  // namespace modelpress
