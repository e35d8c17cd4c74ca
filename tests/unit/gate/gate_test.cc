// The gate on pairs of small models: what is let through, what is refused, and what is only noted.
#include "core/gate/gate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/base/status.h"
#include "modelpress/v1/report.pb.h"
#include "tests/support/model_builder.h"
#include "tests/support/test_job.h"

namespace modelpress {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using testing::ModelFromText;
using testing::TestJob;

struct Gated {
  absl::Status status;
  Report report;
};

Gated Gate(const Model& original, const Model& artifact, const Recipe& recipe = Recipe()) {
  TestJob job;
  Gated gated;
  gated.status = RunGate({.original = &original, .artifact = &artifact, .recipe = &recipe},
                         job.context(), &gated.report);
  return gated;
}

Recipe StructureOnly() {
  Recipe recipe;
  recipe.mutable_judging()->set_gate(Judging::GATE_STRUCTURE);
  return recipe;
}

constexpr char kDouble[] = R"(<ir_version: 8, opset_import: ["" : 17]>
    g (float[N, 4] x) => (float[N, 4] y) { y = Add(x, x) })";

TEST(GateTest, TheSameFunctionPassesWithEveryNumber) {
  const Gated gated =
      Gate(ModelFromText(kDouble), ModelFromText(R"(<ir_version: 8, opset_import: ["" : 17]>
      g (float[N, 4] x) => (float[N, 4] y) <float two = {2.0}> { y = Mul(x, two) })"));
  ASSERT_TRUE(gated.status.ok()) << gated.status;
  const Judgement& judgement = gated.report.judgement();
  EXPECT_EQ(judgement.data_source(), Judgement::DATA_SOURCE_SYNTHETIC);
  EXPECT_EQ(judgement.outputs(0).max_abs_error(), 0);
  EXPECT_EQ(judgement.agreement(), 1);
  EXPECT_GE(judgement.latency().runs(), 5u);
  std::vector<std::string> phases;
  for (const PhaseTime& phase : gated.report.phases()) phases.push_back(phase.name());
  EXPECT_EQ(phases, (std::vector<std::string>{"check", "judge", "latency"}));
}

TEST(GateTest, SaysHowMuchMemoryTheLoadedModelsHold) {
  onnx::ModelProto proto = testing::ParseProto(R"(<ir_version: 8, opset_import: ["" : 17]>
      g (float[1, 1024] x) => (float[1, 1024] y) { y = MatMul(x, w) })");
  onnx::TensorProto& weight = *proto.mutable_graph()->add_initializer();
  weight.set_name("w");
  weight.set_data_type(onnx::TensorProto::FLOAT);
  for (int i = 0; i < 2; ++i) weight.add_dims(1024);
  weight.mutable_raw_data()->assign(4 << 20, '\0');
  const Model model = testing::ReadModel(proto).value();
  const Gated gated = Gate(model.Clone(), model.Clone());
  ASSERT_TRUE(gated.status.ok()) << gated.status;
  // Laid out for speed, the weight is a copy.
  EXPECT_GE(gated.report.judgement().original_memory_bytes(), 3u << 20);
  EXPECT_GE(gated.report.judgement().artifact_memory_bytes(), 3u << 20);
}

TEST(GateTest, OtherNamesAreRefusedWithoutRunning) {
  const Model renamed = ModelFromText(R"(<ir_version: 8, opset_import: ["" : 17]>
      g (float[N, 4] x) => (float[N, 4] z) { z = Add(x, x) })");
  for (const Recipe& recipe : {Recipe(), StructureOnly()}) {
    const absl::Status status = Gate(ModelFromText(kDouble), renamed, recipe).status;
    EXPECT_EQ(ReasonOf(status), ERROR_REASON_ARTIFACT_REJECTED);
    EXPECT_EQ(DetailOf(status).metadata().at("stage"), "check");
  }
}

TEST(GateTest, AnotherShapeIsRefusedWhenComparing) {
  const absl::Status status = Gate(ModelFromText(R"(<ir_version: 8, opset_import: ["" : 17]>
      g (float[2, 4] x) => (float[A, B] y) { y = Add(x, x) })"),
                                   ModelFromText(R"(<ir_version: 8, opset_import: ["" : 17]>
      g (float[2, 4] x) => (float[A, B] y) { y = Transpose(x) })"))
                                  .status;
  EXPECT_EQ(ReasonOf(status), ERROR_REASON_ARTIFACT_REJECTED) << status;
  EXPECT_EQ(DetailOf(status).metadata().at("stage"), "compare");
}

TEST(GateTest, ATypeThatAnOperatorDoesNotTakeIsRefusedByTheChecker) {
  // As a careless float16 conversion would leave it: one operand converted, the other not.
  Model artifact = ModelFromText(R"(<ir_version: 8, opset_import: ["" : 17]>
      g (float[N, 4] x) => (float[N, 4] y) <float[4] w = {1.0, 2.0, 3.0, 4.0}> { y = Mul(x, w) })");
  const Model original = artifact.Clone();
  artifact.mutable_proto().mutable_graph()->mutable_initializer(0)->set_data_type(10);
  artifact.mutable_proto().mutable_graph()->mutable_initializer(0)->set_raw_data(
      std::string(8, '\0'));
  for (const Recipe& recipe : {Recipe(), StructureOnly()}) {
    const absl::Status status = Gate(original, artifact, recipe).status;
    EXPECT_EQ(ReasonOf(status), ERROR_REASON_ARTIFACT_REJECTED) << status;
    EXPECT_EQ(DetailOf(status).metadata().at("stage"), "check");
  }
}

TEST(GateTest, AnOriginalThatDoesNotLoadIsItsOwnError) {
  const Model unknown =
      ModelFromText(R"(<ir_version: 8, opset_import: ["" : 17, "nobody.knows" : 1]>
      g (float[N, 4] x) => (float[N, 4] y) { y = nobody.knows.Mystery(x) })");
  const absl::Status status = Gate(unknown, unknown).status;
  EXPECT_EQ(ReasonOf(status), ERROR_REASON_OP_UNSUPPORTED) << status;
  EXPECT_EQ(DetailOf(status).metadata().at("stage"), "load original");
  // The structure gate runs nothing.
  EXPECT_TRUE(Gate(unknown, unknown, StructureOnly()).status.ok());
}

TEST(GateTest, AnArtifactThatDoesNotLoadThoughTheOriginalDoes) {
  const absl::Status status = Gate(ModelFromText(kDouble), ModelFromText(R"(
      <ir_version: 8, opset_import: ["" : 17, "nobody.knows" : 1]>
      g (float[N, 4] x) => (float[N, 4] y) { y = nobody.knows.Mystery(x) })"))
                                  .status;
  EXPECT_EQ(ReasonOf(status), ERROR_REASON_ARTIFACT_REJECTED) << status;
  EXPECT_EQ(DetailOf(status).metadata().at("stage"), "load");
}

TEST(GateTest, AnArtifactThatTakesFloat16IsFedFloat16) {
  const Gated gated =
      Gate(ModelFromText(kDouble), ModelFromText(R"(<ir_version: 8, opset_import: ["" : 17]>
      g (float16[N, 4] x) => (float16[N, 4] y) { y = Add(x, x) })"));
  ASSERT_TRUE(gated.status.ok()) << gated.status;
  EXPECT_GT(gated.report.judgement().outputs(0).sqnr_db(), 60);
  EXPECT_GT(gated.report.judgement().outputs(0).max_abs_error(), 0);
}

TEST(GateTest, AConvertedModelRunsOnceByItself) {
  const Model model = ModelFromText(kDouble);
  TestJob job;
  Report report;
  const Recipe recipe;
  const absl::Status status =
      RunGate({.only_converted = true, .original = &model, .artifact = &model, .recipe = &recipe},
              job.context(), &report);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(report.judgement().data_source(), Judgement::DATA_SOURCE_NONE);
  EXPECT_EQ(report.judgement().outputs_size(), 0);
  EXPECT_THAT(report.notes(), Contains(HasSubstr("ran once")));
}

TEST(GateTest, AConvertedModelHasToLoad) {
  const Model model = ModelFromText(R"(<ir_version: 8, opset_import: ["" : 17, "nobody.knows" : 1]>
      g (float[N, 4] x) => (float[N, 4] y) { y = nobody.knows.Mystery(x) })");
  TestJob job;
  Report report;
  const Recipe recipe;
  const absl::Status status =
      RunGate({.only_converted = true, .original = &model, .artifact = &model, .recipe = &recipe},
              job.context(), &report);
  EXPECT_EQ(ReasonOf(status), ERROR_REASON_OP_UNSUPPORTED) << status;
}

TEST(GateTest, AnOriginalThatDoesNotRunOnMadeUpSamplesIsNoted) {
  const Model model = ModelFromText(R"(<ir_version: 8, opset_import: ["" : 17]>
      g (float[N, 3] x) => (float[A, B] y) <int64[2] shape = {7, 11}> { y = Reshape(x, shape) })");
  const Gated gated = Gate(model, model);
  ASSERT_TRUE(gated.status.ok()) << gated.status;
  EXPECT_EQ(gated.report.judgement().data_source(), Judgement::DATA_SOURCE_NONE);
  EXPECT_THAT(gated.report.notes(), Contains(HasSubstr("does not run on synthetic samples")));
  Recipe bounded;
  bounded.add_quality()->set_metric("cosine");
  bounded.mutable_quality(0)->set_min(0.5);
  EXPECT_EQ(ReasonOf(Gate(model, model, bounded).status), ERROR_REASON_DATA_MISSING);
}

TEST(GateTest, NumbersThatWereLostAreCounted) {
  const Gated gated =
      Gate(ModelFromText(kDouble), ModelFromText(R"(<ir_version: 8, opset_import: ["" : 17]>
      g (float[N, 4] x) => (float[N, 4] y) { m = Sub(x, x)
                                             y = Div(m, m) })"));
  ASSERT_TRUE(gated.status.ok()) << gated.status;
  const OutputComparison& row = gated.report.judgement().outputs(0);
  EXPECT_EQ(row.not_finite(), 8u * 4u);
  EXPECT_TRUE(std::isinf(row.sqnr_db()) && row.sqnr_db() < 0);
}

TEST(GateTest, SlowerArtifactsAreSaidToBe) {
  const Gated gated = Gate(ModelFromText(R"(<ir_version: 8, opset_import: ["" : 17]>
      g (float[200, 200] x) => (float[200, 200] y) { y = Relu(x) })"),
                           ModelFromText(R"(
      <ir_version: 8, opset_import: ["" : 17]>
      g (float[200, 200] x) => (float[200, 200] y) { r = Relu(x)
                                                     a = MatMul(r, r)
                                                     z = Sub(a, a)
                                                     y = Add(z, r) })"));
  ASSERT_TRUE(gated.status.ok()) << gated.status;
  EXPECT_THAT(gated.report.notes(), Contains(HasSubstr("times slower")));
}

TEST(CheckModelTest, AcceptsWeightsOutsideTheSkeleton) {
  // 2,000 floats are above what stays inline.
  onnx::ModelProto proto = testing::ParseProto(R"(<ir_version: 8, opset_import: ["" : 17]>
      g (float[N, 2000] x) => (float[N, 2000] y) { y = Add(x, w) })");
  onnx::TensorProto& weight = *proto.mutable_graph()->add_initializer();
  weight.set_name("w");
  weight.set_data_type(1);
  weight.add_dims(2000);
  weight.set_raw_data(std::string(8000, '\0'));
  const Model model = testing::ReadModel(proto).value();
  ASSERT_EQ(model.weights().size(), 1u);
  const absl::Status status = CheckModel(model);
  EXPECT_TRUE(status.ok()) << status;
}

}  // namespace
}  // namespace modelpress
