// prune_channels as a recipe runs it: on a trained network with data, and what it refuses.
#include <cmath>

#include "core/measure/model_loss.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/test_data.h"
#include "tests/unit/passes/run_pass.h"

namespace modelpress {
namespace {

using ::testing::HasSubstr;
using testing::ModelFromText;
using testing::RunPass;
using testing::TestDataPath;
using testing::TestJob;

Model Digits() {
  const std::string bytes = testing::ReadFile(TestDataPath("digits-cnn/model.onnx"));
  return testing::ReadModel(InputFiles{testing::MakeInput("model.onnx", bytes), {}}).value();
}

double MacsAfter(const PassReport& report) {
  double before = 0, after = 0;
  for (const Change& change : report.changes()) {
    before += change.channels().macs_before();
    after += change.channels().macs_after();
  }
  return after / before;
}

TEST(PruneChannelsTest, ATrainedNetworkAtHalfOfItsMultiplications) {
  TestJob job(2);
  WeightArena arena(&job.scratch());
  const auto data = DataSet::Open(TestDataPath("digits-cnn/data"), &job.scratch());
  ASSERT_TRUE(data.ok()) << data.status();
  const Model dense = Digits();
  Model refitted = dense.Clone(), cut = dense.Clone();
  const auto report =
      RunPass("prune_channels: {max_macs: 0.5}", &refitted, &job, &arena, data->get());
  ASSERT_TRUE(report.ok()) << report.status();
  const auto plain =
      RunPass("prune_channels: {max_macs: 0.5, refit: false}", &cut, &job, &arena, data->get());
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_LE(MacsAfter(*report), 0.5);
  EXPECT_LT(report->weight_bytes_after(), report->weight_bytes_before());
  // On samples that it was not fitted on.
  auto test = (*data)->Split("test", {}, DeclaredInputs(dense), 1, 200);
  ASSERT_TRUE(test.ok()) << test.status();
  const auto meter = LossMeter::On(dense, **test, arena, job.context());
  ASSERT_TRUE(meter.ok()) << meter.status();
  const auto with = (*meter)->Measure(refitted), without = (*meter)->Measure(cut);
  ASSERT_TRUE(with.ok() && without.ok());
  EXPECT_GT(with->sqnr_db, without->sqnr_db + 3);
  ASSERT_TRUE(with->agreement.has_value());
  EXPECT_GE(*with->agreement, *without->agreement);
}

TEST(PruneChannelsTest, RefusesTargetsThatSayNothing) {
  const auto validate = [](std::string_view yaml) {
    PassStep step;
    EXPECT_TRUE(ReadYaml(yaml, &step).ok());
    return (*PassRegistry::Get().ForStep(step))->Validate(step);
  };
  for (const char* yaml :
       {"prune_channels: {}", "prune_channels: {sparsity: 0}", "prune_channels: {sparsity: 1}",
        "prune_channels: {max_macs: -0.5}", "prune_channels: {max_macs: 1.5}"}) {
    EXPECT_EQ(ReasonOf(validate(yaml)), ERROR_REASON_RECIPE_INVALID) << yaml;
  }
  EXPECT_TRUE(validate("prune_channels: {sparsity: 0.5}").ok());
}

TEST(PruneChannelsTest, EnergyNeedsData) {
  TestJob job;
  WeightArena arena(&job.scratch());
  Model model = Digits();
  EXPECT_EQ(
      ReasonOf(RunPass("prune_channels: {sparsity: 0.5, importance: energy}", &model, &job, &arena)
                   .status()),
      ERROR_REASON_DATA_MISSING);
}

TEST(PruneChannelsTest, AModelWithNothingToRemoveIsNamed) {
  TestJob job;
  WeightArena arena(&job.scratch());
  Model model = ModelFromText(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[2, 3] x) => (float[2, 2] y) <float[3, 2] w = {1, 2, 3, 4, 5, 6}> { y = MatMul(x, w) })");
  const absl::Status status =
      RunPass("prune_channels: {sparsity: 0.5}", &model, &job, &arena).status();
  EXPECT_EQ(ReasonOf(status), ERROR_REASON_NOTHING_CHANGED);
  EXPECT_THAT(std::string(status.message()), HasSubstr("not_followed"));
}

}  // namespace
}  // namespace modelpress
