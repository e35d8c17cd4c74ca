// Which layers stay in float, on nets where one of them is known to be bad; and when a loss is
// within limits.
#include "core/measure/static_exceptions.h"

#include <algorithm>
#include <random>

#include "core/measure/loss_limits.h"
#include "core/runtime/profile.h"
#include "core/statistics/calibration_samples.h"
#include "gtest/gtest.h"
#include "tests/support/model_builder.h"
#include "tests/support/test_job.h"

namespace modelpress {
namespace {

using testing::TestJob;

// A chain of 1x1 convolutions of 8 channels. The input of layer `bad` has one channel a thousand times
// as large as the others, which the layer does not look at: a grid for all channels loses the others.
Model Chain(int layers, int bad) {
  std::string nodes;
  for (int i = 0; i < layers; ++i) {
    const std::string n = std::to_string(i), next = std::to_string(i + 1);
    const std::string in = i == 0 ? "x" : "h" + n;
    if (i == bad) nodes += "s" + n + " = Mul(" + in + ", large) ";
    nodes += "h" + next + " = Conv(" + (i == bad ? "s" + n : in) + ", w" + n + ") ";
  }
  onnx::ModelProto proto = testing::ParseProto(
      "<ir_version: 8, opset_import: [\"\" : 13]> g (float[1, 8, 8, 8] x) => (float[1, 8, 8, 8] h" +
      std::to_string(layers) + ") <float[1, 8, 1, 1] large = {1000, 1, 1, 1, 1, 1, 1, 1}> { " +
      nodes + " }");
  std::mt19937 random(3);
  std::normal_distribution<float> normal(0, 0.35f);
  for (int layer = 0; layer < layers; ++layer) {
    onnx::TensorProto& tensor = *proto.mutable_graph()->add_initializer();
    tensor.set_name("w" + std::to_string(layer));
    tensor.set_data_type(onnx::TensorProto::FLOAT);
    for (const int64_t extent : {8, 8, 1, 1}) tensor.add_dims(extent);
    for (int i = 0; i < 64; ++i) {
      const float value = normal(random);
      tensor.add_float_data(layer == bad && i % 8 == 0 ? 0.0f : value);
    }
  }
  Model model = testing::ReadModel(proto).value();
  NameNodes(model.mutable_proto());
  return model;
}

struct Chosen {
  StaticExceptions exceptions;
  Model model;
};

Chosen Choose(int layers, int bad, const v1::LossLimits& limits, bool code_weights) {
  TestJob job;
  WeightArena arena(&job.scratch());
  Model model = Chain(layers, bad);
  const GraphIndex index(model.mutable_proto());
  QdqLayers found = FindQdqLayers(model, index).value();
  const auto samples = OpenCalibrationSamples(model, nullptr, 0, 6, 1, job.context()).value();
  const auto quantizer =
      StaticQuantizer::Make(model, found.layers, {}, true, *samples, arena, job.context(), nullptr)
          .value();
  EXPECT_TRUE(quantizer->UseRanges({}).ok());
  const auto meter = LossMeter::On(model, *samples, arena, job.context()).value();
  const std::vector<double> own(found.layers.size(), 1);
  const std::vector<bool> code(found.layers.size(), code_weights);
  std::string failure;
  Chosen chosen{
      ChooseExceptions(*quantizer, own, code, limits, *meter, *meter, nullptr, &failure).value(),
      {}};
  EXPECT_EQ(failure, "");
  chosen.model = quantizer->Build(chosen.exceptions.forms).value();
  return chosen;
}

TEST(StaticExceptionsTest, OnlyTheBadLayerStaysFloat) {
  v1::LossLimits limits;
  limits.set_min_sqnr_db(25);
  const Chosen chosen = Choose(6, 3, limits, /*code_weights=*/false);
  std::vector<LayerForm> expected(6, LayerForm::kInteger);
  expected[3] = LayerForm::kFloat;
  EXPECT_EQ(chosen.exceptions.forms, expected);
  EXPECT_GE(chosen.exceptions.loss.sqnr_db, 25);
  EXPECT_EQ(std::ranges::max_element(chosen.exceptions.noise) - chosen.exceptions.noise.begin(), 3);
}

TEST(StaticExceptionsTest, ItsWeightIsStoredInCodesWhereTheModelBearsIt) {
  v1::LossLimits limits;
  limits.set_min_sqnr_db(25);
  const Chosen chosen = Choose(6, 3, limits, /*code_weights=*/true);
  EXPECT_EQ(chosen.exceptions.forms[3], LayerForm::kCodedWeight);
  EXPECT_EQ(testing::FindInitializer(chosen.model, "w3"), nullptr);
  TestJob job;
  const OptimizedGraph graph = InspectOptimizedGraph(chosen.model, 1, job.scratch()).value();
  for (const auto& [type, count] : graph.operators) {
    if (type.ends_with("QLinearConv")) {
      EXPECT_EQ(count, 5);
    }
  }
}

TEST(StaticExceptionsTest, LimitsThatNoCodeKeepsLeaveTheFloatModel) {
  v1::LossLimits limits;
  limits.set_min_sqnr_db(200);
  const Chosen chosen = Choose(4, 1, limits, /*code_weights=*/true);
  EXPECT_EQ(chosen.exceptions.forms, std::vector<LayerForm>(4, LayerForm::kFloat));
}

TEST(StaticExceptionsTest, ManyLayersNeedFewMeasurements) {
  v1::LossLimits limits;
  limits.set_min_sqnr_db(20);
  const Chosen chosen = Choose(60, 41, limits, /*code_weights=*/false);
  EXPECT_EQ(chosen.exceptions.forms[41], LayerForm::kFloat);
  EXPECT_LE(chosen.exceptions.measurements, 45);
}

TEST(LossLimitsTest, DefaultsForgiveOneSample) {
  const v1::LossLimits none;
  ModelLoss loss{.sqnr_db = 30, .agreement = 0.9, .accuracy_drop = 0.1, .samples = 10};
  EXPECT_TRUE(IsWithin(loss, none));
  loss.samples = 11;
  EXPECT_FALSE(IsWithin(loss, none));
  loss = {.sqnr_db = 30, .agreement = 0.985, .accuracy_drop = 0.009, .samples = 1000};
  EXPECT_TRUE(IsWithin(loss, none));
  loss.accuracy_drop = 0.011;
  EXPECT_FALSE(IsWithin(loss, none));
  loss.accuracy_drop.reset();
  loss.sqnr_db = 17.9;
  EXPECT_FALSE(IsWithin(loss, none));
}

TEST(LossLimitsTest, WhatTheCallerSaysIsStrict) {
  v1::LossLimits limits;
  limits.set_min_agreement(0.95);
  EXPECT_FALSE(IsWithin({.sqnr_db = 30, .agreement = 0.9, .samples = 10}, limits));
  limits.set_off(true);
  EXPECT_TRUE(IsWithin({.sqnr_db = -5, .agreement = 0.1, .samples = 10}, limits));
}

TEST(LossLimitsTest, LessNoiseIsNotBetterWithMoreWrongDecisions) {
  const ModelLoss best{.sqnr_db = 20, .agreement = 1, .samples = 100};
  EXPECT_TRUE(IsBetter({.sqnr_db = 21, .agreement = 0.98, .samples = 100}, best));
  EXPECT_FALSE(IsBetter({.sqnr_db = 21, .agreement = 0.97, .samples = 100}, best));
  EXPECT_FALSE(IsBetter({.sqnr_db = 20, .agreement = 1, .samples = 100}, best));
  EXPECT_TRUE(IsBetter({.sqnr_db = 20.1, .agreement = 1, .samples = 100}, best));
  EXPECT_FALSE(IsBetter({.sqnr_db = 20.4, .agreement = 0.99, .samples = 100}, best));
  EXPECT_TRUE(IsBetter(best, {.sqnr_db = 20.4, .agreement = 0.99, .samples = 100}));
}

}  // namespace
}  // namespace modelpress
