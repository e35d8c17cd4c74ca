// Jobs whose model is of another format: converted on the way, in one step or in two with the same bytes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <random>

#include "core/base/status.h"
#include "core/recipe/recipe_reader.h"
#include "core/recipe/run.h"
#include "modelpress/v1/recipe.pb.h"
#include "modelpress/v1/report.pb.h"
#include "tests/support/model_builder.h"
#include "tests/support/test_job.h"
#include "tests/support/tflite_builder.h"

namespace modelpress {
namespace {

using testing::BuiltinOperator;
using testing::ReadFile;
using testing::TensorType;
using testing::TestJob;
using testing::TfliteBuilder;

// x [1, 64] through two dense layers.
std::string Dense() {
  std::mt19937 random(5);
  std::vector<float> first(64 * 64), second(10 * 64);
  for (float& value : first) value = static_cast<float>(random()) / 4294967296.0f - 0.5f;
  for (float& value : second) value = static_cast<float>(random()) / 4294967296.0f - 0.5f;
  TfliteBuilder tflite;
  const int x = tflite.Input("x", TensorType::FLOAT32, {1, 64}),
            h = tflite.Tensor("h", TensorType::FLOAT32, {1, 64});
  tflite.Add(BuiltinOperator::FULLY_CONNECTED,
             {x, tflite.Floats("w1", {64, 64}, first),
              tflite.Floats("b1", {64}, std::vector<float>(64, 0.1f))},
             {h});
  tflite.Add(BuiltinOperator::FULLY_CONNECTED,
             {h, tflite.Floats("w2", {10, 64}, second),
              tflite.Floats("b2", {10}, std::vector<float>(10, 0.2f))},
             {tflite.Output("y", TensorType::FLOAT32, {1, 10})});
  return tflite.Bytes();
}

JobOutcome RunOne(const std::string& name, const std::string& bytes, std::string_view recipe,
                  const TestJob& job, const std::string& output) {
  JobInputs inputs;
  inputs.model.main = testing::MakeInput(name, bytes);
  inputs.output_folder = job.folder() + "/out";
  inputs.output_name = output;
  std::filesystem::create_directories(inputs.output_folder);
  return RunRecipe(inputs, ReadRecipe(recipe).value(), job.context());
}

TEST(ImportTest, CompressingTheSourceGivesTheBytesOfConvertingFirst) {
  TestJob job;
  const std::string source = Dense(), compress = "passes: [{quantize_weights: {}}]";
  const JobOutcome converted = RunOne("m.tflite", source, "{}", job, "converted.onnx");
  ASSERT_FALSE(converted.has_error()) << converted.error_message();
  EXPECT_EQ(converted.report().original().format(), "tflite");
  EXPECT_EQ(converted.report().artifact().format(), "onnx");
  const JobOutcome then =
      RunOne("m.onnx", ReadFile(job.folder() + "/out/converted.onnx"), compress, job, "then.onnx");
  ASSERT_FALSE(then.has_error()) << then.error_message();
  const JobOutcome at_once = RunOne("m.tflite", source, compress, job, "at_once.onnx");
  ASSERT_FALSE(at_once.has_error()) << at_once.error_message();
  EXPECT_EQ(then.files(0).sha256(), at_once.files(0).sha256());
  EXPECT_LT(at_once.files(0).size_bytes() * 2, converted.files(0).size_bytes());
}

TEST(ImportTest, TheOpsetIsTheOneThatWasAskedFor) {
  TestJob job;
  const JobOutcome outcome = RunOne("m.tflite", Dense(), "import: {opset: 17}", job, "old.onnx");
  ASSERT_FALSE(outcome.has_error()) << outcome.error_message();
  const auto model = testing::ReadModel(
      {.main = testing::MakeInput("m.onnx", ReadFile(job.folder() + "/out/old.onnx"))});
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->opset(), 17);
}

TEST(ImportTest, OptionsOfConversionsAreRefusedForOnnx) {
  TestJob job;
  const JobOutcome converted = RunOne("m.tflite", Dense(), "{}", job, "converted.onnx");
  ASSERT_FALSE(converted.has_error()) << converted.error_message();
  const JobOutcome outcome = RunOne("m.onnx", ReadFile(job.folder() + "/out/converted.onnx"),
                                    "import: {channels_first_inputs: true}", job, "x.onnx");
  EXPECT_EQ(outcome.error().reason(), ERROR_REASON_RECIPE_INVALID);
}

TEST(ImportTest, AnUnknownSignatureIsRefused) {
  TestJob job;
  const JobOutcome outcome =
      RunOne("m.tflite", Dense(), "import: {signature: serving}", job, "x.onnx");
  EXPECT_EQ(outcome.error().reason(), ERROR_REASON_RECIPE_INVALID);
}

}  // namespace
}  // namespace modelpress
