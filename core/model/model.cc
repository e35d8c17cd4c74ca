// Model: skeleton and weight references; see model.h.
#include "core/model/model.h"

#include <charconv>
#include <utility>

#include "core/base/format_string.h"
#include "core/base/status.h"

namespace modelpress {
namespace {

// Type, shape and nothing else; the name stays.
void ResetTensor(onnx::TensorProto* tensor, DataType type, std::span<const int64_t> dims) {
  std::string name = std::move(*tensor->mutable_name());
  const bool had_name = tensor->has_name();
  // `dims` may point into the tensor.
  const std::vector<int64_t> extents(dims.begin(), dims.end());
  tensor->Clear();
  if (had_name) tensor->set_name(std::move(name));
  tensor->set_data_type(static_cast<int32_t>(type));
  tensor->mutable_dims()->Add(extents.begin(), extents.end());
}

absl::Status CheckSize(const onnx::TensorProto& tensor, DataType type,
                       std::span<const int64_t> dims, uint64_t size) {
  MP_ASSIGN_OR_RETURN(const uint64_t count, ElementCount(dims));
  MP_ASSIGN_OR_RETURN(const uint64_t expected, ByteCount(type, count));
  if (expected == size) return absl::OkStatus();
  return Error(ERROR_REASON_INTERNAL_BUG,
               FormatString("{} bytes were given for {} elements of {}, which take {}", size, count,
                            DataTypeName(type), expected))
      .Tensor(tensor.name());
}

}  // namespace

Model Model::Clone() const {
  Model clone;
  clone.proto_ = proto_;
  clone.weights_ = weights_;
  return clone;
}

const WeightRef* Model::Weight(const onnx::TensorProto& tensor) const {
  if (tensor.data_location() != onnx::TensorProto::EXTERNAL || tensor.external_data_size() != 1) {
    return nullptr;
  }
  const std::string& location = tensor.external_data(0).value();
  if (location.size() < 2 || location[0] != '#') return nullptr;
  uint64_t index = 0;
  const char* end = location.data() + location.size();
  const auto [rest, error] = std::from_chars(location.data() + 1, end, index);
  if (error != std::errc() || rest != end || index >= weights_.size()) return nullptr;
  return &weights_[index];
}

absl::StatusOr<std::span<const std::byte>> Model::Bytes(const onnx::TensorProto& tensor) const {
  if (const WeightRef* weight = Weight(tensor); weight != nullptr) return weight->bytes();
  if (tensor.data_location() == onnx::TensorProto::EXTERNAL || Type(tensor) == DataType::kString) {
    return Error(ERROR_REASON_MODEL_MALFORMED, "the tensor's bytes are neither inline nor a weight")
        .Tensor(tensor.name());
  }
  return std::as_bytes(std::span(tensor.raw_data()));
}

absl::Status Model::SetInline(onnx::TensorProto* tensor, DataType type,
                              std::span<const int64_t> dims,
                              std::span<const std::byte> bytes) const {
  MP_RETURN_IF_ERROR(CheckSize(*tensor, type, dims, bytes.size()));
  // Made before the tensor is cleared: `bytes` may be its present content.
  std::string raw(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  ResetTensor(tensor, type, dims);
  tensor->set_raw_data(std::move(raw));
  return absl::OkStatus();
}

absl::Status Model::SetWeight(onnx::TensorProto* tensor, DataType type,
                              std::span<const int64_t> dims, WeightRef weight) {
  MP_RETURN_IF_ERROR(CheckSize(*tensor, type, dims, weight.length));
  if (weight.file == nullptr || weight.offset > weight.file->size() ||
      weight.length > weight.file->size() - weight.offset) {
    return Error(ERROR_REASON_INTERNAL_BUG, "a weight reference runs past the end of its file")
        .Tensor(tensor->name());
  }
  ResetTensor(tensor, type, dims);
  tensor->set_data_location(onnx::TensorProto::EXTERNAL);
  onnx::StringStringEntryProto* entry = tensor->add_external_data();
  entry->set_key("location");
  entry->set_value("#" + std::to_string(weights_.size()));
  weights_.push_back(std::move(weight));
  return absl::OkStatus();
}

absl::Status Model::SetBytes(onnx::TensorProto* tensor, DataType type,
                             std::span<const int64_t> dims, WeightRef bytes) {
  if (bytes.length > kInlineBytes) return SetWeight(tensor, type, dims, std::move(bytes));
  return SetInline(tensor, type, dims, bytes.bytes());
}

absl::Status Model::SetBytes(onnx::TensorProto* tensor, DataType type,
                             std::span<const int64_t> dims, std::span<const std::byte> bytes,
                             WeightArena& arena) {
  if (bytes.size() <= kInlineBytes) return SetInline(tensor, type, dims, bytes);
  MP_ASSIGN_OR_RETURN(WeightArena::Room room, arena.Allocate(bytes.size()));
  std::ranges::copy(bytes, room.bytes.begin());
  return SetWeight(tensor, type, dims, std::move(room.weight));
}

int64_t Model::opset() const {
  for (const onnx::OperatorSetIdProto& import : proto_.opset_import()) {
    if (import.domain().empty() || import.domain() == "ai.onnx") return import.version();
  }
  return 0;
}

std::span<const int64_t> Dims(const onnx::TensorProto& tensor) {
  return {tensor.dims().data(), static_cast<size_t>(tensor.dims_size())};
}

DataType Type(const onnx::TensorProto& tensor) { return static_cast<DataType>(tensor.data_type()); }

}  // namespace modelpress
