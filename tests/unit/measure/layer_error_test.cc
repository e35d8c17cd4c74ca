// Errors of layers on float inputs, against what the weights and grids say.
#include "core/measure/layer_error.h"

#include <cmath>

#include "core/measure/bias_correction.h"
#include "core/quant/qdq_layers.h"
#include "core/statistics/calibration_samples.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/model_builder.h"
#include "tests/support/test_job.h"

namespace modelpress {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatNear;
using testing::ModelFromText;
using testing::TestJob;

Model Named(std::string_view text) {
  Model model = ModelFromText(text);
  NameNodes(model.mutable_proto());
  return model;
}

TEST(LayerErrorTest, AWeightThatIsOffByAFactorGivesThatError) {
  TestJob job;
  const Model reference = Named(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[1, 2] x) => (float[1, 2] y) <float[2, 2] w = {1, 0, 0, 1}> { y = MatMul(x, w) })");
  // Column 0 is 10 % too small, column 1 exact.
  Model coded = Named(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[1, 2] x) => (float[1, 2] y)
      <int8[2, 2] w = {9, 0, 0, 10}, float s = {0.1}> { v = DequantizeLinear(w, s) y = MatMul(x, v) })");
  const auto samples = OpenCalibrationSamples(reference, nullptr, 0, 50, 1, job.context()).value();
  const auto errors = MeasureLayerErrors(coded, reference, *samples, job.context()).value();
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_EQ(errors[0].node, "MatMul_y");
  double signal = 0, noise = 0, mean = 0;
  for (uint64_t i = 0; i < samples->batches(); ++i) {
    const Batch batch = samples->Read(i).value();
    const auto x = batch.inputs.at("x").as<float>();
    signal += (x[0] * x[0] + x[1] * x[1]) / 2 / 50;
    noise += 0.01 * x[0] * x[0] / 2 / 50;
    mean += 0.1 * x[0] / 50;
  }
  EXPECT_NEAR(errors[0].signal, signal, 1e-5 * signal);
  EXPECT_NEAR(errors[0].noise, noise, 1e-4 * noise);
  ASSERT_EQ(errors[0].mean.size(), 2u);
  EXPECT_NEAR(errors[0].mean[0], mean, 1e-6);
  EXPECT_NEAR(errors[0].mean[1], 0, 1e-6);
  EXPECT_NEAR(errors[0].relative(), noise / signal, 1e-4);
}

TEST(LayerErrorTest, LayersThatReadNoCodesAreLeftOut) {
  TestJob job;
  Model model = Named(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[1, 2] x) => (float[1, 2] y) <float[2, 2] w = {1, 0, 0, 1}> { y = MatMul(x, w) })");
  const auto samples = OpenCalibrationSamples(model, nullptr, 0, 2, 1, job.context()).value();
  EXPECT_TRUE(MeasureLayerErrors(model, model, *samples, job.context()).value().empty());
}

TEST(ShiftBiasesTest, FindsTheBiasOfEachKindOfLayer) {
  TestJob job;
  WeightArena arena(&job.scratch());
  Model model = Named(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[1, 2] x) => (float[1, 2] y)
      <float[2, 2] w = {1, 0, 0, 1}, float[1, 2] b = {1, 2}, float[2] c = {5, 5},
       int32[2] k = {10, 20}, float[2] s = {0.5, 0.25}> {
        m = MatMul(x, w)
        n = Add(b, m)
        o = Gemm(n, w, c)
        d = DequantizeLinear<axis = 0>(k, s)
        p = Gemm(o, w, d)
        y = MatMul(p, w)
      })");
  std::vector<BiasCorrection> corrections;
  for (const char* node : {"MatMul_m", "Gemm_o", "Gemm_p", "MatMul_y"}) {
    corrections.push_back({.node = node, .channels = 2, .kept = 2, .shift = {0.5f, -1}});
  }
  // The last MatMul has no place for one.
  EXPECT_EQ(ShiftBiases(model, corrections, arena).value(), 6u);
  const auto& nodes = model.proto().graph().node();
  const auto values = [&](const std::string& name) {
    return testing::Values(model, *testing::FindInitializer(model, name));
  };
  for (const onnx::NodeProto& node : nodes) {
    if (node.name() == "Add_n") {
      EXPECT_THAT(values(node.input(0)), ElementsAre(1.5, 1));
    }
    if (node.name() == "Gemm_o") {
      EXPECT_THAT(values(node.input(2)), ElementsAre(5.5, 4));
    }
    if (node.op_type() == "DequantizeLinear") {
      EXPECT_THAT(values(node.input(0)), ElementsAre(11, 16));
    }
  }
}

}  // namespace
}  // namespace modelpress
