// Loading and saving ONNX: what goes in comes out, wherever the weights lie.
#include <filesystem>
#include <string>

#include "core/base/sha256.h"
#include "core/base/status.h"
#include "core/formats/format.h"
#include "core/formats/input_files.h"
#include "core/model/graph.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "modelpress/v1/report.pb.h"
#include "tests/support/model_builder.h"

namespace modelpress {
namespace {

using testing::MakeInput;
using testing::ParseProto;
using testing::ReadModel;
using testing::TestJob;

const Format& Onnx() { return *FormatRegistry::Get().Find("onnx"); }

// A MatMul with `rows` x 64 weights, in an initializer "W", a Constant node's value, and an If body.
onnx::ModelProto WeightsEverywhere(int rows) {
  onnx::ModelProto proto = ParseProto(R"(
    <ir_version: 8, opset_import: ["" : 17]>
    agraph (float[N, 64] x, bool flag) => (float[N, 64] y) {
      c = Constant <value = float[1] {1}> ()
      a = MatMul(x, W)
      b = MatMul(a, c)
      y = If (flag) <
        then_branch = then_graph () => (float[N, 64] t) { t = MatMul(b, V) },
        else_branch = else_graph () => (float[N, 64] e) { e = Identity(b) }
      >
    })");
  auto fill = [rows](onnx::TensorProto* tensor, const char* name, float base) {
    tensor->Clear();
    tensor->set_name(name);
    tensor->set_data_type(onnx::TensorProto::FLOAT);
    tensor->add_dims(rows);
    tensor->add_dims(64);
    for (int i = 0; i < rows * 64; ++i) tensor->add_float_data(base + static_cast<float>(i));
  };
  onnx::GraphProto* graph = proto.mutable_graph();
  fill(graph->add_initializer(), "W", 0.5f);
  fill(graph->mutable_node(0)->mutable_attribute(0)->mutable_t(), "", 1000.25f);
  onnx::NodeProto* branch = graph->mutable_node(3);
  fill(branch->mutable_attribute(0)->mutable_g()->add_initializer(), "V", -3.0f);
  return proto;
}

// Numbers of every tensor in the order of the walk.
std::vector<std::vector<double>> AllValues(const Model& model) {
  std::vector<std::vector<double>> values;
  ForEachTensor(model.proto(), [&](const onnx::TensorProto& tensor) {
    values.push_back(testing::Values(model, tensor));
  });
  return values;
}

absl::StatusOr<std::vector<ArtifactFile>> Write(const Model& model, Output::Layout layout,
                                                const TestJob& job) {
  Output options;
  options.set_layout(layout);
  return Onnx().Write(model, options, job.folder(), "out.onnx", job.context());
}

struct LayoutCase {
  int rows;
  Output::Layout layout;
  int weights;  // references expected after loading
  size_t files;
};

class LayoutTest : public ::testing::TestWithParam<LayoutCase> {};

TEST_P(LayoutTest, WeightsSurviveSavingAndLoading) {
  const LayoutCase& param = GetParam();
  absl::StatusOr<Model> model = ReadModel(WeightsEverywhere(param.rows));
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->weights().size(), param.weights);
  const auto values = AllValues(*model);
  ASSERT_EQ(values.size(), 3);
  EXPECT_EQ(values[0][1], 1.5);
  EXPECT_EQ(values[1][1], 1001.25);
  EXPECT_EQ(values[2][1], -2.0);

  TestJob job;
  const auto files = Write(*model, param.layout, job);
  ASSERT_TRUE(files.ok()) << files.status();
  ASSERT_EQ(files->size(), param.files);
  EXPECT_EQ(files->at(0).name(), "out.onnx");
  for (const ArtifactFile& file : *files) {
    const std::string bytes = testing::ReadFile(job.folder() + "/" + file.name());
    EXPECT_EQ(file.size_bytes(), bytes.size());
    EXPECT_EQ(file.sha256(), Sha256Hex(std::as_bytes(std::span(bytes))));
  }
  const auto input = OpenModelFiles(job.folder() + "/out.onnx");
  ASSERT_TRUE(input.ok()) << input.status();
  EXPECT_EQ(input->sidecars.size() + 1, param.files);
  const auto again = ReadModel(*input);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(AllValues(*again), values);

  // libonnx's own parser, which knows nothing of ours, reads the same numbers from the inline file.
  if (param.files == 1) {
    onnx::ModelProto parsed;
    ASSERT_TRUE(parsed.ParseFromString(testing::ReadFile(job.folder() + "/out.onnx")));
    const std::string& raw = parsed.graph().initializer(0).raw_data();
    ASSERT_EQ(raw.size(), param.rows * 64 * sizeof(float));
    float last;
    memcpy(&last, raw.data() + raw.size() - sizeof(last), sizeof(last));
    EXPECT_EQ(last, 0.5f + static_cast<float>(param.rows * 64 - 1));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Sizes, LayoutTest,
    ::testing::Values(LayoutCase{1, Output::LAYOUT_AUTO, 0, 1},
                      LayoutCase{1, Output::LAYOUT_SIDECAR, 0, 1},
                      LayoutCase{16, Output::LAYOUT_SIDECAR, 0, 1},  // 4096 bytes: still inline
                      LayoutCase{17, Output::LAYOUT_SIDECAR, 3, 2},
                      LayoutCase{64, Output::LAYOUT_INLINE, 3, 1},
                      LayoutCase{64, Output::LAYOUT_AUTO, 3, 1},
                      LayoutCase{5000, Output::LAYOUT_SIDECAR, 3, 2}));  // page-aligned weights

TEST(OnnxWriter, SameModelGivesSameBytesFromAnyLayout) {
  absl::StatusOr<Model> model = ReadModel(WeightsEverywhere(64));
  ASSERT_TRUE(model.ok()) << model.status();
  TestJob job;
  const auto inline_files = Write(*model, Output::LAYOUT_INLINE, job);
  ASSERT_TRUE(inline_files.ok()) << inline_files.status();
  const auto sidecar_files = Write(*model, Output::LAYOUT_SIDECAR, job);
  ASSERT_TRUE(sidecar_files.ok()) << sidecar_files.status();
  const auto input = OpenModelFiles(job.folder() + "/out.onnx");
  ASSERT_TRUE(input.ok());
  const auto again = ReadModel(*input);
  ASSERT_TRUE(again.ok()) << again.status();
  TestJob other;
  const auto second = Write(*again, Output::LAYOUT_INLINE, other);
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->at(0).sha256(), inline_files->at(0).sha256());
}

TEST(OnnxWriter, TiedWeightsAreStoredOnce) {
  absl::StatusOr<Model> model = ReadModel(WeightsEverywhere(64));
  ASSERT_TRUE(model.ok()) << model.status();
  onnx::TensorProto* copy = model->mutable_proto().mutable_graph()->add_initializer();
  *copy = model->proto().graph().initializer(0);
  copy->set_name("W2");
  const std::vector<int64_t> dims = {64, 64};
  ASSERT_TRUE(model->SetWeight(copy, DataType::kFloat, dims, model->weights()[1]).ok());
  TestJob job;
  const auto files = Write(*model, Output::LAYOUT_SIDECAR, job);
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_EQ(files->at(1).size_bytes(), 3 * 64 * 64 * sizeof(float));
}

TEST(OnnxWriter, LeavesNothingBehindWhenItFails) {
  absl::StatusOr<Model> model = ReadModel(WeightsEverywhere(64));
  ASSERT_TRUE(model.ok()) << model.status();
  TestJob job;
  job.cancellation().Cancel();
  const auto files = Write(*model, Output::LAYOUT_SIDECAR, job);
  EXPECT_EQ(ReasonOf(files.status()), ERROR_REASON_JOB_CANCELLED);
  EXPECT_TRUE(std::filesystem::is_empty(job.folder()));
}

TEST(OnnxWriter, NamesAMissingFolder) {
  absl::StatusOr<Model> model = ReadModel(WeightsEverywhere(1));
  ASSERT_TRUE(model.ok()) << model.status();
  TestJob job;
  const auto files =
      Onnx().Write(*model, Output(), job.folder() + "/missing", "out.onnx", job.context());
  EXPECT_EQ(ReasonOf(files.status()), ERROR_REASON_FILE_ACCESS);
}

}  // namespace
}  // namespace modelpress
