// tune: what it chooses, what it writes down, what it does when nothing holds, and how it goes on from a trail.
#include <cmath>

#include "core/base/status.h"
#include "core/passes/pass.h"
#include "core/recipe/recipe_reader.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "modelpress/v1/recipe.pb.h"
#include "tests/support/model_builder.h"

namespace modelpress {
namespace {

using ::testing::HasSubstr;
using testing::TestJob;

// Two layers of 32 x 32; the weights of the second reach over five powers of ten, so that plain 8-bit codes lose most of
// them.
Model TwoLayers() {
  onnx::ModelProto proto = testing::ParseProto(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[4, 32] x) => (float[4, 32] y) { h = MatMul(x, even)  y = MatMul(h, wide) })");
  for (const bool wide : {false, true}) {
    onnx::TensorProto& tensor = *proto.mutable_graph()->add_initializer();
    tensor.set_name(wide ? "wide" : "even");
    tensor.set_data_type(onnx::TensorProto::FLOAT);
    tensor.add_dims(32);
    tensor.add_dims(32);
    for (int i = 0; i < 1024; ++i) {
      const float value = static_cast<float>((i * 37) % 101 - 50) / 50;
      tensor.add_float_data(wide ? value * std::pow(10.0f, static_cast<float>(i % 6) - 5) : value);
    }
  }
  return testing::ReadModel(proto).value();
}

struct Outcome {
  absl::StatusOr<PassReport> report;
  PassReport so_far;
  Model model;
};

Outcome RunTune(const std::string& options) {
  PassStep step;
  const absl::Status parsed = ReadYaml(options, &step);
  EXPECT_TRUE(parsed.ok()) << parsed;
  const Pass* pass = PassRegistry::Get().Find("tune");
  EXPECT_TRUE(pass->Validate(step).ok()) << pass->Validate(step);
  TestJob job;
  Outcome outcome{PassReport(), {}, TwoLayers()};
  const Model original = outcome.model.Clone();
  WeightArena arena(&job.scratch());
  PassContext context;
  context.job = &job.context();
  context.original = &original;
  context.arena = &arena;
  context.so_far = &outcome.so_far;
  outcome.report = pass->Run(outcome.model, step, context);
  return outcome;
}

const char kCandidates[] =
    "candidates: [{steps: [{quantize_weights: {weights: {min_elements: 1}}}]}, {steps: "
    "[{convert_float16: {}}]}]";
std::string Options(const std::string& bounds, const std::string& more = "") {
  return "tune: {bounds: [" + bounds + "], " + kCandidates + (more.empty() ? "" : ", ") + more +
         "}";
}

TEST(TuneTest, TakesTheSmallestThatHolds) {
  const Outcome loose = RunTune(Options("{metric: sqnr_db, min: 20}"));
  ASSERT_TRUE(loose.report.ok()) << loose.report.status();
  ASSERT_EQ(loose.report->trail_size(), 2);
  EXPECT_TRUE(loose.report->trail(0).holds());
  EXPECT_EQ(loose.report->trail(1).why(), "not smaller than what holds already");
  EXPECT_EQ(loose.report->evaluations(), 2u);  // the original and int8
  EXPECT_EQ(loose.model.proto().graph().node(0).op_type(), "DequantizeLinear");

  const Outcome strict = RunTune(Options("{metric: sqnr_db, min: 62}"));
  ASSERT_TRUE(strict.report.ok()) << strict.report.status();
  EXPECT_FALSE(strict.report->trail(0).holds());
  EXPECT_TRUE(strict.report->trail(strict.report->trail_size() - 1).holds());
  EXPECT_EQ(Type(*testing::FindInitializer(strict.model, "even")), DataType::kFloat16);
}

TEST(TuneTest, NothingThatHoldsIsAMissedBoundWithTheTrail) {
  const Outcome outcome = RunTune(Options("{metric: sqnr_db, min: 500}"));
  EXPECT_EQ(ReasonOf(outcome.report.status()), ERROR_REASON_QUALITY_BOUND_MISSED);
  EXPECT_THAT(std::string(outcome.report.status().message()), HasSubstr("convert_float16"));
  EXPECT_GE(outcome.so_far.trail_size(), 2);
}

TEST(TuneTest, TheBudgetOfEvaluationsIsKept) {
  const Outcome outcome = RunTune(Options("{metric: sqnr_db, min: 500}", "max_evaluations: 2"));
  EXPECT_EQ(outcome.so_far.evaluations(), 2u);
}

TEST(TuneTest, GoesOnFromATrailWithoutMeasuringAgain) {
  const Outcome first = RunTune(Options("{metric: sqnr_db, min: 20}"));
  ASSERT_TRUE(first.report.ok());
  const TuneTrial& known = first.report->trail(0);
  PassStep step;
  ASSERT_TRUE(ReadYaml(Options("{metric: sqnr_db, min: 20}"), &step).ok());
  *step.mutable_tune()->add_trail() = known;
  TestJob job;
  Model model = TwoLayers();
  const Model original = model.Clone();
  WeightArena arena(&job.scratch());
  PassContext context;
  context.job = &job.context();
  context.original = &original;
  context.arena = &arena;
  const auto report = PassRegistry::Get().Find("tune")->Run(model, step, context);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->evaluations(), 1u);  // the original alone
  EXPECT_EQ(report->trail(0).SerializeAsString(), known.SerializeAsString());
  EXPECT_EQ(model.proto().SerializeAsString(), first.model.proto().SerializeAsString());
}

TEST(TuneTest, WhatDoesNotLoadIsARowAndNoEnd) {
  const Outcome outcome = RunTune(
      "tune: {bounds: [{metric: sqnr_db, min: 20}], candidates: [{steps: [{fold_batch_norm: {}}]}, "
      "{steps: "
      "[{quantize_weights: {weights: {min_elements: 1}}}]}]}");
  ASSERT_TRUE(outcome.report.ok()) << outcome.report.status();
  EXPECT_THAT(outcome.report->trail(0).why(), HasSubstr("fold_batch_norm"));
  EXPECT_TRUE(outcome.report->trail(1).holds());
}

TEST(TuneTest, BadOptionsNameTheField) {
  const struct {
    const char* options;
    const char* field;
  } cases[] = {
      {"tune: {bounds: [{metric: latency_ratio, max: 1}]}", "tune.bounds[0].metric"},
      {"tune: {bounds: [{metric: agreement, max_drop: 0.1}]}", "tune.bounds[0]"},
      {"tune: {bounds: [{metric: accuracy}]}", "tune.bounds[0]"},
      {"tune: {candidates: [{}]}", "tune.candidates[0].steps"},
      {"tune: {candidates: [{steps: [{tune: {}}]}]}", "tune.candidates[0].steps[0]"},
      {"tune: {candidates: [{steps: [{prune_magnitude: {sparsity_global: 2}}]}]}",
       "tune.candidates[0].steps[0]"},
  };
  for (const auto& c : cases) {
    PassStep step;
    ASSERT_TRUE(ReadYaml(c.options, &step).ok()) << c.options;
    const absl::Status status = PassRegistry::Get().Find("tune")->Validate(step);
    EXPECT_EQ(ReasonOf(status), ERROR_REASON_RECIPE_INVALID) << c.options;
    EXPECT_EQ(DetailOf(status).metadata().at("field"), c.field) << c.options;
  }
}

}  // namespace
}  // namespace modelpress
