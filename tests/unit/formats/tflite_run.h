// Converting and running the small models of the TensorFlow Lite tests.
#pragma once

#include <cstring>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "core/base/status.h"
#include "core/formats/format.h"
#include "core/runtime/session.h"
#include "gtest/gtest.h"
#include "modelpress/v1/recipe.pb.h"
#include "tests/support/model_builder.h"
#include "tests/support/test_job.h"
#include "tests/support/tflite_builder.h"

namespace modelpress::testing {

inline absl::StatusOr<Model> Convert(const std::string& bytes, TestJob& job,
                                     const Import& options = {}) {
  const InputFiles files{.main = MakeInput("model.tflite", bytes)};
  MP_ASSIGN_OR_RETURN(const Format* format, FormatRegistry::Get().Recognise(files));
  EXPECT_EQ(format->name(), "tflite");
  return format->Read(files, options, job.context());
}

template <typename T>
inline Tensor MakeTensor(DataType type, std::vector<int64_t> dims, const std::vector<T>& values) {
  std::span<std::byte> room;
  Tensor tensor = Tensor::Make(type, std::move(dims), &room).value();
  EXPECT_EQ(room.size(), values.size() * sizeof(T));
  std::memcpy(room.data(), values.data(), room.size());
  return tensor;
}

inline Tensor Floats(std::vector<int64_t> dims, const std::vector<float>& values) {
  return MakeTensor(DataType::kFloat, std::move(dims), values);
}
inline Tensor Ints(std::vector<int64_t> dims, const std::vector<int32_t>& values) {
  return MakeTensor(DataType::kInt32, std::move(dims), values);
}

inline std::vector<double> Numbers(const Tensor& tensor) {
  std::vector<double> numbers;
  for (uint64_t i = 0; i < tensor.element_count(); ++i)
    numbers.push_back(ElementAsDouble(tensor, i));
  return numbers;
}

// The output "y" of the model for these inputs.
inline std::vector<double> OutputOf(const TfliteBuilder& tflite, const TensorMap& inputs,
                                    const Import& options = {}) {
  TestJob job;
  const absl::StatusOr<Model> model = Convert(tflite.Bytes(), job, options);
  EXPECT_TRUE(model.ok()) << model.status();
  if (!model.ok()) return {};
  const auto session = Session::Create(*model, {});
  EXPECT_TRUE(session.ok()) << session.status();
  if (!session.ok()) return {};
  const auto outputs = (*session)->Run(inputs);
  EXPECT_TRUE(outputs.ok()) << outputs.status();
  return outputs.ok() ? Numbers(outputs->at("y")) : std::vector<double>();
}

inline std::vector<std::string> Operators(const TfliteBuilder& tflite, const Import& options = {}) {
  TestJob job;
  const absl::StatusOr<Model> model = Convert(tflite.Bytes(), job, options);
  EXPECT_TRUE(model.ok()) << model.status();
  std::vector<std::string> types;
  if (model.ok()) {
    for (const onnx::NodeProto& node : model->proto().graph().node())
      types.push_back(node.op_type());
  }
  return types;
}

// Numbers of [-1, 1).
inline std::vector<float> Random(size_t count, uint32_t seed) {
  std::mt19937 generator(seed);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(generator()) / 2147483648.0f - 1.0f;
  return values;
}

}  // namespace modelpress::testing
