// Tensors of a TensorFlow Lite file: type, shape, constant and quantization of each, checked. A part of reader.h.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/status.h"
#include "core/formats/tflite/graph.h"

namespace modelpress::tflite {

// MODEL_MALFORMED with the remedy for damaged files.
Error Malformed(std::string_view message);
std::string_view Text(const flatbuffers::String* text);

// Reads the tensors of one file, which has been verified as a FlatBuffer.
class TensorReader {
 public:
  TensorReader(std::shared_ptr<const MappedFile> file, const schema::Model* model)
      : file_(std::move(file)), model_(model) {}

  // `tensors` is how many its graph has. MODEL_MALFORMED, MODEL_LIMIT, EXTERNAL_DATA_REJECTED or OP_UNSUPPORTED.
  absl::StatusOr<SourceTensor> Read(const schema::Tensor& table, size_t tensors);

  // Vectors may be shared by many tables of a small hostile file: what is copied out of it has a limit in sum.
  template <typename T>
  absl::StatusOr<std::vector<T>> Copy(const auto* numbers) {
    std::vector<T> copied;
    if (numbers == nullptr) return copied;
    MP_RETURN_IF_ERROR(Count(numbers->size()));
    copied.reserve(numbers->size());
    for (flatbuffers::uoffset_t i = 0; i < numbers->size(); ++i)
      copied.push_back(static_cast<T>(numbers->Get(i)));
    return copied;
  }

 private:
  absl::Status Count(uint64_t numbers);
  absl::Status ReadData(const schema::Tensor& table, SourceTensor* tensor);
  absl::Status ReadQuantization(const schema::QuantizationParameters& table, size_t tensors,
                                SourceTensor* tensor);

  std::shared_ptr<const MappedFile> file_;
  const schema::Model* model_;
  uint64_t copied_ = 0;
};

}  // namespace modelpress::tflite
