// Builders of bad input: see bad_files.h.
#include "tests/bad_input/bad_files.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "core/base/format_string.h"
#include "core/recipe/recipe_reader.h"
#include "modelpress/v1/report.pb.h"

namespace modelpress::testing {
namespace {

namespace fs = std::filesystem;

void WriteFile(const fs::path& path, std::string_view bytes) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}

uint64_t AnonymousBytes() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word) {
    if (word == "RssAnon:") {
      uint64_t kib = 0;
      status >> kib;
      return kib * 1024;
    }
  }
  return 0;
}

template <typename T>
std::string Npy(std::string_view type, const std::vector<int64_t>& shape,
                const std::vector<T>& values) {
  std::string dims;
  for (int64_t extent : shape) dims += FormatString("{}, ", extent);
  return NpyBytes(
      FormatString("{{'descr': '{}', 'fortran_order': False, 'shape': ({})}}", type, dims),
      {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)});
}

JobOutcome Failed(const absl::Status& status) {
  JobOutcome outcome;
  *outcome.mutable_error() = DetailOf(status);
  outcome.set_error_message(std::string(status.message()));
  return outcome;
}

absl::StatusOr<JobInputs> WriteInputs(const JobBytes& job, const fs::path& folder) {
  JobInputs inputs;
  WriteFile(folder / "model", job.model);
  inputs.model.main.name = "model.onnx";
  MP_ASSIGN_OR_RETURN(inputs.model.main.file, MappedFile::OpenForReading(folder / "model"));
  int index = 0;
  for (const auto& [name, bytes] : job.sidecars) {
    const fs::path path = folder / FormatString("sidecar{}", index++);
    WriteFile(path, bytes);
    MP_ASSIGN_OR_RETURN(auto file, MappedFile::OpenForReading(path));
    inputs.model.sidecars.push_back({name, file});
  }
  for (const auto& [name, bytes] : job.data) WriteFile(folder / "data" / name, bytes);
  if (!job.data.empty()) inputs.data_path = folder / "data";
  inputs.output_folder = folder / "out";
  fs::create_directories(inputs.output_folder);
  return inputs;
}

}  // namespace

JobOutcome RunBadJob(const JobBytes& job) {
  const absl::StatusOr<Recipe> recipe = ReadRecipe(job.recipe);
  if (!recipe.ok()) return Failed(recipe.status());
  auto folder = Scratch::Temporary(0).value();
  auto scratch = Scratch::Open(folder->folder() + "/scratch", 1 << 30, /*wipe=*/false).value();
  const absl::StatusOr<JobInputs> inputs = WriteInputs(job, folder->folder());
  if (!inputs.ok()) return Failed(inputs.status());
  ThreadPool pool(2);
  Cancellation cancellation;
  const JobContext context{.pool = &pool, .scratch = scratch.get(), .cancellation = &cancellation};
  const uint64_t memory_before = AnonymousBytes();
  const auto start = std::chrono::steady_clock::now();
  JobOutcome outcome = RunRecipe(*inputs, *recipe, context);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
  EXPECT_LT(AnonymousBytes(), memory_before + (uint64_t{256} << 20));
  EXPECT_EQ(scratch->used_bytes(), 0u);
  EXPECT_TRUE(fs::is_empty(scratch->folder()));
  return outcome;
}

onnx::ModelProto SquareModel(int64_t rows) {
  onnx::ModelProto model;
  model.set_ir_version(8);
  auto* opset = model.add_opset_import();
  opset->set_domain("");
  opset->set_version(17);
  auto* graph = model.mutable_graph();
  graph->set_name("g");
  auto* node = graph->add_node();
  node->set_name("matmul");
  node->set_op_type("MatMul");
  node->add_input("x");
  node->add_input("w");
  node->add_output("y");
  for (auto [value, list] : {std::pair{"x", graph->add_input()}, {"y", graph->add_output()}}) {
    list->set_name(value);
    auto* type = list->mutable_type()->mutable_tensor_type();
    type->set_elem_type(onnx::TensorProto::FLOAT);
    type->mutable_shape()->add_dim()->set_dim_param("N");
    type->mutable_shape()->add_dim()->set_dim_value(rows);
  }
  auto* weight = graph->add_initializer();
  weight->set_name("w");
  weight->set_data_type(onnx::TensorProto::FLOAT);
  weight->add_dims(rows);
  weight->add_dims(rows);
  std::vector<float> values(static_cast<size_t>(rows * rows));
  for (size_t i = 0; i < values.size(); ++i) values[i] = 0.25f * static_cast<float>(i % 97);
  weight->set_raw_data(values.data(), values.size() * sizeof(float));
  return model;
}

onnx::ModelProto TinyModel() { return SquareModel(4); }

std::string Varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes.push_back(static_cast<char>(value | 0x80));
  bytes.push_back(static_cast<char>(value));
  return bytes;
}

std::string Field(int number, std::string_view payload) {
  return Varint(static_cast<uint64_t>(number) << 3 | 2) + Varint(payload.size()) +
         std::string(payload);
}

std::string VarintField(int number, uint64_t value) {
  return Varint(static_cast<uint64_t>(number) << 3) + Varint(value);
}

std::string NpyBytes(std::string_view header, std::string_view payload) {
  std::string padded(header);
  while ((10 + padded.size() + 1) % 64 != 0) padded.push_back(' ');
  padded.push_back('\n');
  std::string bytes = "\x93NUMPY";
  bytes += '\x01';
  bytes += '\x00';
  bytes += static_cast<char>(padded.size() & 0xff);
  bytes += static_cast<char>(padded.size() >> 8);
  return bytes + padded + std::string(payload);
}

std::string NpyFloats(const std::vector<int64_t>& shape, const std::vector<float>& values) {
  return Npy("<f4", shape, values);
}

std::string NpyInts(const std::vector<int64_t>& shape, const std::vector<int64_t>& values) {
  return Npy("<i8", shape, values);
}

}  // namespace modelpress::testing
