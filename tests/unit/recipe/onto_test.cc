// Jobs with a file of weights and a graph to put them into.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <map>

#include "core/base/status.h"
#include "core/recipe/job_files.h"
#include "core/recipe/recipe_reader.h"
#include "core/recipe/run.h"
#include "modelpress/v1/recipe.pb.h"
#include "modelpress/v1/report.pb.h"
#include "tests/support/model_builder.h"
#include "tests/support/test_job.h"

namespace modelpress {
namespace {

using ::testing::HasSubstr;
using testing::MakeInput;
using testing::ReadFile;
using testing::TestJob;

// y = x w + b of two numbers.
std::string Graph() {
  return testing::ParseProto(R"(<ir_version: 8, opset_import: ["" : 17]>
           g (float[1, 2] x) => (float[1, 2] y)
           <float[2, 2] w = {1, 2, 3, 4}, float[2] b = {5, 6}>
           { h = MatMul(x, w)
             y = Add(h, b) })")
      .SerializeAsString();
}

// A safetensors file of float tensors.
std::string Weights(const std::map<std::string, std::vector<float>>& tensors,
                    const std::map<std::string, std::string>& shapes) {
  std::string header = "{", data;
  for (const auto& [name, values] : tensors) {
    const size_t begin = data.size();
    data.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
    header += (header.size() > 1 ? ",\"" : "\"") + name + R"(":{"dtype":"F32","shape":)" +
              shapes.at(name) + ",\"data_offsets\":[" + std::to_string(begin) + "," +
              std::to_string(data.size()) + "]}";
  }
  header += "}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const uint64_t length = header.size();
  std::string file(sizeof(length), '\0');
  std::memcpy(file.data(), &length, sizeof(length));
  return file + header + data;
}

std::string NewWeights() {
  return Weights({{"w", {10, 20, 30, 40}}, {"b", {50, 60}}}, {{"w", "[2,2]"}, {"b", "[2]"}});
}

JobOutcome RunOnto(const std::string& weights, const std::string& graph, std::string_view recipe,
                   const TestJob& job) {
  JobInputs inputs;
  inputs.model.main = MakeInput("w.safetensors", weights);
  if (!graph.empty()) inputs.graph = MakeInput("graph/model.onnx", graph);
  inputs.output_folder = job.folder() + "/out";
  inputs.output_name = "new.onnx";
  std::filesystem::create_directories(inputs.output_folder);
  return RunRecipe(inputs, ReadRecipe(recipe).value(), job.context());
}

std::map<std::string, std::string> Properties(const Model& model) {
  std::map<std::string, std::string> all;
  for (const auto& property : model.proto().metadata_props())
    all[property.key()] = property.value();
  return all;
}

TEST(OntoTest, WeightsReplaceThoseOfTheGraphAndBothAreRecorded) {
  TestJob job;
  const JobOutcome outcome = RunOnto(NewWeights(), Graph(), "{}", job);
  ASSERT_FALSE(outcome.has_error()) << outcome.error_message();
  const auto model =
      testing::ReadModel({.main = MakeInput("m", ReadFile(job.folder() + "/out/new.onnx"))});
  ASSERT_TRUE(model.ok()) << model.status();
  for (const onnx::TensorProto& tensor : model->proto().graph().initializer()) {
    float first;
    std::memcpy(&first, model->Bytes(tensor)->data(), sizeof(first));
    EXPECT_EQ(first, tensor.name() == "w" ? 10 : 50);
  }
  const auto properties = Properties(*model);
  const auto& original = outcome.report().original();
  EXPECT_EQ(properties.at("modelpress.input_sha256"), original.sha256());
  EXPECT_EQ(properties.at("modelpress.input_sha256/graph/model.onnx"),
            original.sidecar_sha256().at("graph/model.onnx"));
  EXPECT_NE(original.sha256(), original.sidecar_sha256().at("graph/model.onnx"));
}

TEST(OntoTest, NamesAreChangedAsTheRecipeSays) {
  TestJob job;
  const std::string weights =
      Weights({{"a.w", {1, 1, 1, 1}}, {"c", {0}}}, {{"a.w", "[2,2]"}, {"c", "[1]"}});
  const JobOutcome outcome =
      RunOnto(weights, Graph(), R"(import: {renamed_weights: {a.w: w, c: ""}})", job);
  ASSERT_FALSE(outcome.has_error()) << outcome.error_message();
  const auto model =
      testing::ReadModel({.main = MakeInput("m", ReadFile(job.folder() + "/out/new.onnx"))});
  EXPECT_EQ(Properties(*model).at("modelpress.renamed_weights"), R"({"a.w":"w","c":""})");
}

TEST(OntoTest, WhatDoesNotFitIsListed) {
  TestJob job;
  const JobOutcome outcome =
      RunOnto(Weights({{"w", {1, 2}}, {"bias", {1, 2}}}, {{"w", "[2]"}, {"bias", "[2]"}}), Graph(),
              "{}", job);
  EXPECT_EQ(outcome.error().reason(), ERROR_REASON_RECIPE_INVALID);
  EXPECT_THAT(outcome.error_message(), HasSubstr("'w'"));
  EXPECT_THAT(outcome.error_message(), HasSubstr("'bias'"));
  EXPECT_FALSE(std::filesystem::exists(job.folder() + "/out/new.onnx"));
}

TEST(OntoTest, WeightsAndGraphBelongTogether) {
  TestJob job;
  EXPECT_EQ(RunOnto(NewWeights(), "", "import: {renamed_weights: {w: w}}", job).error().reason(),
            ERROR_REASON_RECIPE_INVALID);
  EXPECT_EQ(RunOnto(NewWeights(), "", "{}", job).error().reason(), ERROR_REASON_FORMAT_UNSUPPORTED);
  EXPECT_EQ(RunOnto(Graph(), Graph(), "{}", job).error().reason(), ERROR_REASON_FORMAT_UNSUPPORTED);
  EXPECT_EQ(RunOnto(NewWeights(), NewWeights(), "{}", job).error().reason(),
            ERROR_REASON_FORMAT_UNSUPPORTED);
}

TEST(JobFilesTest, SidecarsBelongToTheModelInWhoseFolderTheyLie) {
  JobInputs inputs;
  inputs.model.main = MakeInput("model.onnx", "a");
  inputs.model.sidecars = {MakeInput("weights.data", "bb"), MakeInput("graph/weights.data", "ccc"),
                           MakeInput("student/x/y", "dddd")};
  inputs.graph = MakeInput("graph/model.onnx", "eeeee");
  inputs.student = MakeInput("student/model.onnx", "ffffff");
  const InputFiles own = FilesOfModel(inputs), graph = FilesOf(inputs.graph, inputs),
                   student = FilesOf(inputs.student, inputs);
  ASSERT_EQ(own.sidecars.size(), 1u);
  EXPECT_EQ(own.sidecars[0].name, "weights.data");
  EXPECT_EQ(graph.main.name, "model.onnx");
  ASSERT_EQ(graph.sidecars.size(), 1u);
  EXPECT_EQ(graph.sidecars[0].name, "weights.data");
  EXPECT_EQ(graph.sidecars[0].file->size(), 3u);
  ASSERT_EQ(student.sidecars.size(), 1u);
  EXPECT_EQ(student.sidecars[0].name, "x/y");
  EXPECT_EQ(ModelBytes(inputs), 21u);
  EXPECT_EQ(BytesOf(graph), 8u);
}

}  // namespace
}  // namespace modelpress
