// Whole jobs on the trained digits model: what comes out, the same bytes for any thread count, and
// what faults leave.
#include "core/recipe/run.h"
#include "core/base/format_string.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "core/base/sha256.h"
#include "core/base/status.h"
#include "core/recipe/recipe_reader.h"
#include "modelpress/v1/report.pb.h"
#include "tests/support/model_builder.h"
#include "tests/support/test_data.h"
#include "tests/support/test_job.h"

namespace modelpress {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::HasSubstr;
using testing::ReadFile;
using testing::TestDataPath;
using testing::TestJob;

JobInputs Digits(const std::string& output_folder, bool data = true) {
  JobInputs inputs;
  inputs.model.main = {"model.onnx",
                       MappedFile::OpenForReading(TestDataPath("digits-cnn/model.onnx")).value()};
  if (data) inputs.data_path = TestDataPath("digits-cnn/data");
  inputs.output_folder = output_folder;
  return inputs;
}

std::string OutFolder(const TestJob& job) {
  const std::string folder = job.folder() + "/out";
  fs::create_directories(folder);
  return folder;
}

JobOutcome RunDigits(std::string_view recipe, const TestJob& job, bool data = true) {
  return RunRecipe(Digits(OutFolder(job), data), ReadRecipe(recipe).value(), job.context());
}

std::string DigestOf(const std::string& bytes) {
  return Sha256Hex(std::as_bytes(std::span(bytes)));
}

constexpr std::string_view kQuantize =
    "passes: [{convert_opset: {version: 17}, allow_no_change: true}, {quantize_weights: "
    "{}}]\njudging: {batch_size: 50}\n";

TEST(RunRecipeTest, QuantizesTheDigitsModelAndReportsHonestly) {
  TestJob job(2);
  std::vector<std::string> phases;
  double last = 0;
  JobContext context = job.context();
  context.progress = [&](const Progress& progress) {
    if (phases.empty() || phases.back() != progress.phase()) phases.push_back(progress.phase());
    EXPECT_GE(progress.total_fraction(), last);
    last = progress.total_fraction();
  };
  const Recipe recipe =
      ReadRecipe(std::string(kQuantize) +
                 "quality: [{metric: accuracy, max_drop: 0.01}, {metric: size_ratio, max: 0.4}]")
          .value();
  const JobOutcome outcome = RunRecipe(Digits(OutFolder(job)), recipe, context);
  ASSERT_FALSE(outcome.has_error()) << outcome.error_message();
  const Report& report = outcome.report();
  EXPECT_EQ(report.original().sha256(), DigestOf(ReadFile(TestDataPath("digits-cnn/model.onnx"))));
  EXPECT_EQ(report.original().parameters(), report.artifact().parameters());
  EXPECT_GT(report.original().zstd_bytes(), report.artifact().zstd_bytes());
  EXPECT_LT(report.artifact().file_bytes() * 5, report.original().file_bytes() * 2);
  EXPECT_EQ(report.judgement().samples(), 397u);
  EXPECT_EQ(report.judgement().data_source(), Judgement::DATA_SOURCE_CALLER);
  EXPECT_NEAR(report.judgement().original().accuracy(), 392.0 / 397,
              1e-9);  // as its maker measured
  EXPECT_NEAR(report.judgement().artifact().accuracy(), report.judgement().original().accuracy(),
              0.01);
  EXPECT_GT(report.judgement().original().f1_macro(), 0.97);
  EXPECT_GT(report.judgement().agreement(), 0.99);
  EXPECT_GT(report.judgement().outputs(0).sqnr_db(), 30);
  EXPECT_GT(report.judgement().latency().runs(), 4u);
  EXPECT_THAT(report.judgement().task(),
              HasSubstr("classification on output 'logits', 10 classes on axis 1"));
  ASSERT_EQ(report.bounds_size(), 2);
  EXPECT_TRUE(report.bounds(0).passed());
  EXPECT_GT(report.peak_anonymous_bytes(), 0u);
  EXPECT_EQ(phases, (std::vector<std::string>{"read", "convert_opset", "quantize_weights", "write",
                                              "check", "judge", "latency", "done"}));
  ASSERT_EQ(outcome.files_size(), 1);
  const std::string bytes = ReadFile(OutFolder(job) + "/model.onnx");
  EXPECT_EQ(bytes.size(), outcome.files(0).size_bytes());
  EXPECT_EQ(Sha256Hex(std::as_bytes(std::span(bytes))), outcome.files(0).sha256());

  // Where it comes from is written into it.
  const Model model = testing::ReadModel({.main = testing::MakeInput("model.onnx", bytes)}).value();
  std::map<std::string, std::string> properties;
  for (const auto& property : model.proto().metadata_props())
    properties[property.key()] = property.value();
  EXPECT_EQ(properties["modelpress.version"], Version());
  EXPECT_EQ(properties["modelpress.input_sha256"], report.original().sha256());
  EXPECT_EQ(ReadRecipe(properties["modelpress.recipe"]).value().passes_size(), 2);
}

TEST(RunRecipeTest, SameBytesForEveryThreadCountAndGate) {
  std::vector<std::string> digests;
  for (const size_t threads : {1, 2, 4}) {
    for (const char* judging : {"{gate: structure}", "{gate: full, latency: false}"}) {
      TestJob job(threads);
      const JobOutcome outcome =
          RunDigits(FormatString("passes: [{{quantize_weights: {{}}}}]\njudging: {}", judging), job,
                    /*data=*/false);
      ASSERT_FALSE(outcome.has_error()) << outcome.error_message();
      digests.push_back(outcome.files(0).sha256());
    }
  }
  EXPECT_THAT(digests, ::testing::Each(digests[0]));
}

TEST(RunRecipeTest, WithoutDataItIsJudgedOnSyntheticSamplesAndSaysSo) {
  TestJob job;
  const JobOutcome outcome = RunDigits("passes: [{quantize_weights: {}}]", job, /*data=*/false);
  ASSERT_FALSE(outcome.has_error()) << outcome.error_message();
  EXPECT_EQ(outcome.report().judgement().data_source(), Judgement::DATA_SOURCE_SYNTHETIC);
  EXPECT_EQ(outcome.report().judgement().samples(), 8u);
  EXPECT_FALSE(outcome.report().judgement().original().has_accuracy());
  EXPECT_THAT(outcome.report().notes(), Contains(HasSubstr("synthetic")));
}

TEST(RunRecipeTest, AMissedBoundTakesTheArtifactAwayUnlessItWasAskedFor) {
  for (const bool keep : {false, true}) {
    TestJob job;
    const JobOutcome outcome =
        RunDigits(FormatString("passes: [{{quantize_weights: {{}}}}]\nquality: [{{metric: sqnr_db, "
                               "min: 200}}]\njudging: "
                               "{{keep_on_miss: {}, batch_size: 64, latency: false}}",
                               keep),
                  job);
    EXPECT_EQ(outcome.error().reason(), ERROR_REASON_QUALITY_BOUND_MISSED)
        << outcome.error_message();
    EXPECT_EQ(outcome.error().metadata().at("metric"), "sqnr_db");
    EXPECT_FALSE(outcome.report().bounds(0).passed());
    EXPECT_EQ(outcome.files_size(), keep ? 1 : 0);
    EXPECT_EQ(fs::exists(OutFolder(job) + "/model.onnx"), keep);
  }
}

TEST(RunRecipeTest, AnEmptyRecipeSavesTheSameModel) {
  TestJob job;
  const JobOutcome outcome = RunDigits("judging: {batch_size: 100, latency: false}", job);
  ASSERT_FALSE(outcome.has_error()) << outcome.error_message();
  EXPECT_EQ(outcome.report().judgement().outputs(0).max_abs_error(), 0);
  EXPECT_EQ(outcome.report().judgement().agreement(), 1);
}

TEST(RunRecipeTest, FailuresAreTypedAndLeaveNothing) {
  struct Case {
    std::string recipe;
    ErrorReason reason;
  };
  const Case cases[] = {
      {"passes: [{quantize_weights: {weights: {include: [nothing]}}}]",
       ERROR_REASON_NOTHING_CHANGED},
      {"quality: [{metric: bits_per_token, max: 3}]\njudging: {latency: false}",
       ERROR_REASON_DATA_MISSING},
      {"judging: {output: nothing}", ERROR_REASON_RECIPE_INVALID},
      {"judging: {gate: structure}\nquality: [{metric: accuracy, min: 0}]",
       ERROR_REASON_RECIPE_INVALID},
      {"judging: {task: binary}", ERROR_REASON_DATA_INVALID},
  };
  for (const Case& c : cases) {
    TestJob job;
    const JobOutcome outcome = RunDigits(c.recipe, job);
    EXPECT_EQ(outcome.error().reason(), c.reason) << c.recipe << ": " << outcome.error_message();
    EXPECT_EQ(outcome.error_code(), static_cast<int>(CodeOf(c.reason)));
    EXPECT_EQ(outcome.files_size(), 0);
    EXPECT_TRUE(fs::is_empty(OutFolder(job))) << c.recipe;
  }
}

TEST(RunRecipeTest, AStudentThatNothingTrainsIsRefused) {
  TestJob job;
  JobInputs inputs = Digits(OutFolder(job), false);
  inputs.student = {"student/model.onnx", inputs.model.main.file};
  const JobOutcome outcome =
      RunRecipe(inputs, ReadRecipe("passes: [{simplify: {}}]").value(), job.context());
  EXPECT_EQ(outcome.error().reason(), ERROR_REASON_RECIPE_INVALID);
  EXPECT_EQ(outcome.error().metadata().at("field"), "passes");
}

TEST(RunRecipeTest, BytesThatAreNoModel) {
  TestJob job;
  for (const std::string& bytes :
       {std::string(), std::string("hello"),
        ReadFile(TestDataPath("digits-cnn/model.onnx")).substr(0, 1000)}) {
    JobInputs inputs = Digits(OutFolder(job), false);
    inputs.model.main = testing::MakeInput("m", bytes);
    const JobOutcome outcome = RunRecipe(inputs, Recipe(), job.context());
    EXPECT_THAT(outcome.error().reason(),
                ::testing::AnyOf(ERROR_REASON_MODEL_MALFORMED, ERROR_REASON_FORMAT_UNSUPPORTED));
  }
}

TEST(RunRecipeTest, NamesThatAreNotUtf8DoNotSpoilTheOutcome) {
  onnx::ModelProto proto = testing::ParseProto(R"(
      <ir_version: 8, opset_import: ["" : 17]>
      agraph (float[N, 4] x) => (float[N, 4] y) { y = Relu(x) })");
  proto.mutable_graph()->mutable_node(0)->set_name("bad \xff");
  proto.mutable_graph()->mutable_output(0)->set_name("y\xfe");
  proto.mutable_graph()->mutable_node(0)->set_output(0, "y\xfe");
  TestJob job;
  JobInputs inputs = Digits(OutFolder(job), false);
  inputs.model.main = testing::MakeInput("m.onnx", proto.SerializeAsString());
  const JobOutcome outcome = RunRecipe(inputs, Recipe(), job.context());
  ASSERT_FALSE(outcome.has_error()) << outcome.error_message();
  JobOutcome again;
  ASSERT_TRUE(again.ParseFromString(outcome.SerializeAsString()));
  EXPECT_EQ(again.report().judgement().outputs(0).output(), "y\\xfe");
}

TEST(RunRecipeTest, CancellationAndDeadline) {
  TestJob job;
  job.cancellation().Cancel();
  EXPECT_EQ(RunDigits(kQuantize, job).error().reason(), ERROR_REASON_JOB_CANCELLED);
  TestJob late;
  late.cancellation().EndIn(0);
  EXPECT_EQ(RunRecipe(Digits(OutFolder(late)), Recipe(), late.context()).error().reason(),
            ERROR_REASON_JOB_DEADLINE);
  EXPECT_TRUE(fs::is_empty(OutFolder(late)));
}

TEST(RunRecipeFaultTest, ScratchQuotaFullDiskAndUnwritableFolders) {
  TestJob small(1, /*quota_bytes=*/1000);
  EXPECT_EQ(RunDigits(kQuantize, small).error().reason(), ERROR_REASON_SCRATCH_FULL);
  TestJob job;
  JobInputs inputs = Digits(job.folder() + "/missing");
  const Recipe recipe = ReadRecipe(kQuantize).value();
  EXPECT_EQ(RunRecipe(inputs, recipe, job.context()).error().reason(), ERROR_REASON_FILE_ACCESS);
  inputs.output_folder = TestDataPath("digits-cnn/model.onnx");  // a file
  EXPECT_EQ(RunRecipe(inputs, recipe, job.context()).error().reason(), ERROR_REASON_FILE_ACCESS);
  if (fs::exists("/dev/full")) {
    inputs.output_folder = "/dev/full";
    EXPECT_EQ(RunRecipe(inputs, recipe, job.context()).error().reason(), ERROR_REASON_FILE_ACCESS);
  }
  inputs.output_folder = OutFolder(job);
  inputs.data_path = job.folder() + "/no-data";
  EXPECT_NE(RunRecipe(inputs, recipe, job.context()).error().reason(), ERROR_REASON_INTERNAL_BUG);
  EXPECT_TRUE(RunRecipe(inputs, recipe, job.context()).has_error());
}

TEST(RunRecipeTest, AMemoryBudgetBelowThePlanIsRefusedWithNumbers) {
  TestJob job;
  JobContext context = job.context();
  context.memory_budget_bytes = 1 << 20;
  const JobOutcome outcome = RunRecipe(Digits(OutFolder(job)), Recipe(), context);
  EXPECT_EQ(outcome.error().reason(), ERROR_REASON_MEMORY_BUDGET);
  EXPECT_TRUE(outcome.error().metadata().contains("needed"));
}

TEST(MakePlanTest, NamesEveryStepAndBoundsTheRun) {
  TestJob job;
  const Recipe recipe = ReadRecipe(kQuantize).value();
  const Plan plan = MakePlan(Digits(OutFolder(job)), recipe, job.context()).value();
  std::vector<std::string> names;
  for (const PlanStep& step : plan.steps()) names.push_back(step.name());
  EXPECT_EQ(names, (std::vector<std::string>{"read", "convert_opset", "quantize_weights", "write",
                                             "check", "judge", "latency"}));
  EXPECT_GT(plan.scratch_bytes(), fs::file_size(TestDataPath("digits-cnn/model.onnx")));
  const Plan rough =
      MakePlanFromSizes(fs::file_size(TestDataPath("digits-cnn/model.onnx")), 1000, recipe);
  EXPECT_GE(rough.scratch_bytes(), plan.scratch_bytes());
  EXPECT_EQ(
      ReasonOf(MakePlan(Digits(OutFolder(job)), ReadRecipe("passes: [{}]").value(), job.context())
                   .status()),
      ERROR_REASON_UNKNOWN_PASS);
}

// Digests of artifacts without their provenance, which has the version. They hold the builds together (optimized,
// sanitized, other compilers); who changes what a pass writes puts the new ones here.
TEST(RunRecipeTest, BytesAreTheSameInEveryBuild) {
  const struct {
    std::string_view pass;
    std::string_view sha256;
  } cases[] = {
      {"quantize_weights: {weights: {min_elements: 64}}",
       "5467e8950836cb0c7b3f25aed8b6202d5492695819fe38c57acf4376d522d511"},
      {"quantize_dead_zone: {weights: {min_elements: 64}}",
       "2adfa4654f98045fe53d8ccfde55cdff806ab5c0be9230f7e6eb24f9d2d19631"},
      {"convert_float16: {}", "110029f12333d4715b219639b7162afcf1bb377226e642301fe9150c7c6a0b02"},
      {"prune_magnitude: {sparsity_global: 0.5}",
       "743f1553d5f7c4091360782d7d52b6e79cf5208adc7790f454a172339aac70f3"},
  };
  for (const auto& [pass, sha256] : cases) {
    TestJob job(2);
    const JobOutcome outcome =
        RunDigits(FormatString("passes: [{{{}}}]\njudging: {{gate: structure}}\n", pass), job,
                  /*data=*/false);
    ASSERT_FALSE(outcome.has_error()) << outcome.error_message();
    onnx::ModelProto model;
    ASSERT_TRUE(model.ParseFromString(ReadFile(OutFolder(job) + "/" + outcome.files(0).name())));
    model.clear_metadata_props();
    EXPECT_EQ(DigestOf(model.SerializeAsString()), sha256) << pass;
  }
}

}  // namespace
}  // namespace modelpress
