// Tensors of TensorFlow Lite files: see tensor_reader.h.
#include "core/formats/tflite/tensor_reader.h"

#include <cmath>

#include "core/base/format_string.h"

namespace modelpress::tflite {
namespace {

// More axes than any operator of the format takes.
constexpr size_t kMaxRank = 32;
constexpr uint64_t kMaxCopiedNumbers = 64 << 20;

}  // namespace

Error Malformed(std::string_view message) {
  return Error(ERROR_REASON_MODEL_MALFORMED, message)
      .Remedy("the file may be truncated or damaged: copy or export it again");
}

std::string_view Text(const flatbuffers::String* text) {
  return text == nullptr ? std::string_view() : std::string_view(text->c_str(), text->size());
}

absl::Status TensorReader::Count(uint64_t numbers) {
  copied_ += numbers;
  if (copied_ <= kMaxCopiedNumbers) return absl::OkStatus();
  return Error(ERROR_REASON_MODEL_LIMIT, "the lists of the model's graphs are too long together")
      .With("limit", std::to_string(kMaxCopiedNumbers));
}

absl::StatusOr<SourceTensor> TensorReader::Read(const schema::Tensor& table, size_t tensors) {
  SourceTensor tensor;
  tensor.name = Text(table.name());
  tensor.type = table.type();
  if (tensor.type < TensorType::MIN || tensor.type > TensorType::MAX) {
    return Malformed(FormatString("tensor type {} is not known", static_cast<int>(tensor.type)));
  }
  tensor.is_variable = table.is_variable();
  const auto* signature = table.shape_signature();
  const auto* fixed = table.shape();
  const bool use_signature = signature != nullptr && signature->size() > 0 &&
                             (fixed == nullptr || fixed->size() == signature->size());
  const auto* shape = use_signature ? signature : fixed;
  if (shape != nullptr && shape->size() > kMaxRank) {
    return Error(ERROR_REASON_MODEL_LIMIT, FormatString("a tensor has {} axes", shape->size()))
        .With("limit", std::to_string(kMaxRank));
  }
  MP_ASSIGN_OR_RETURN(tensor.shape, Copy<int64_t>(shape));
  for (const int64_t extent : tensor.shape) {
    if (extent < -1) return Malformed(FormatString("a tensor has a negative extent, {}", extent));
  }
  MP_RETURN_IF_ERROR(ReadData(table, &tensor));
  tensor.has_shape = !tensor.shape.empty() || table.has_rank() || tensor.constant;
  if (table.quantization() != nullptr)
    MP_RETURN_IF_ERROR(ReadQuantization(*table.quantization(), tensors, &tensor));
  return tensor;
}

absl::Status TensorReader::ReadData(const schema::Tensor& table, SourceTensor* tensor) {
  if (table.external_buffer() != 0) {
    return Error(ERROR_REASON_EXTERNAL_DATA_REJECTED, "the tensor's data lies in another file")
        .With("location", "external buffer")
        .Remedy("store the weights inside of the .tflite file");
  }
  const size_t buffers = model_->buffers() == nullptr ? 0 : model_->buffers()->size();
  if (table.buffer() == 0) return absl::OkStatus();
  if (table.buffer() >= buffers) {
    return Malformed(
        FormatString("buffer {} does not exist: the file has {}", table.buffer(), buffers));
  }
  const schema::Buffer& buffer = *model_->buffers()->Get(table.buffer());
  WeightRef data{file_, 0, 0};
  if (buffer.offset() > 1) {
    data.offset = buffer.offset();
    data.length = buffer.size();
    if (data.offset > file_->size() || data.length > file_->size() - data.offset) {
      return Malformed(FormatString("buffer {} runs past the end of the file", table.buffer()));
    }
  } else if (buffer.data() != nullptr) {
    data.offset = static_cast<uint64_t>(reinterpret_cast<const std::byte*>(buffer.data()->data()) -
                                        file_->bytes().data());
    data.length = buffer.data()->size();
  }
  if (data.length == 0) return absl::OkStatus();
  tensor->constant = true;
  tensor->sparsity = table.sparsity();
  tensor->data = std::move(data);
  // Some writers leave -1 in the signature of constants.
  if (table.shape() != nullptr && tensor->shape.size() == table.shape()->size()) {
    for (size_t i = 0; i < tensor->shape.size(); ++i) {
      tensor->shape[i] = table.shape()->Get(static_cast<flatbuffers::uoffset_t>(i));
    }
  }
  MP_ASSIGN_OR_RETURN(const uint64_t elements, ElementCount(tensor->shape));
  if (tensor->sparsity != nullptr || tensor->type == TensorType::STRING) return absl::OkStatus();
  if (const DataType type = ToOnnxType(tensor->type); type != DataType::kUndefined) {
    MP_ASSIGN_OR_RETURN(const uint64_t expected, ByteCount(type, elements));
    if (expected != tensor->data.length) {
      return Malformed(FormatString("a constant has {} bytes where its type and shape take {}",
                                    tensor->data.length, expected));
    }
  }
  return absl::OkStatus();
}

absl::Status TensorReader::ReadQuantization(const schema::QuantizationParameters& table,
                                            size_t tensors, SourceTensor* tensor) {
  Quantization found;
  if (const auto* blocks = table.details_as_BlockwiseQuantization(); blocks != nullptr) {
    found.block_size = blocks->block_size();
    found.scales_tensor = blocks->scales();
    found.zero_points_tensor = blocks->zero_points();
    const auto exists = [&](int index) {
      return index >= 0 && static_cast<size_t>(index) < tensors;
    };
    if (found.block_size <= 0 || !exists(found.scales_tensor) ||
        (found.zero_points_tensor > 0 && !exists(found.zero_points_tensor))) {
      return Malformed("the block-wise quantization of a tensor names tensors that do not exist");
    }
    // 0 is written for "none" as well, and can be no tensor of zero points beside scales.
    if (found.zero_points_tensor == 0) found.zero_points_tensor = -1;
    tensor->quantization = std::move(found);
    return absl::OkStatus();
  }
  if (table.details_type() != schema::QuantizationDetails::NONE) {
    return Error(ERROR_REASON_OP_UNSUPPORTED,
                 "the tensor has a quantization of a kind that is not known")
        .With("rule", schema::EnumNameQuantizationDetails(table.details_type()));
  }
  if (table.scale() == nullptr || table.scale()->size() == 0) return absl::OkStatus();
  MP_ASSIGN_OR_RETURN(found.scale, Copy<float>(table.scale()));
  MP_ASSIGN_OR_RETURN(found.zero_point, Copy<int64_t>(table.zero_point()));
  found.axis = table.quantized_dimension();
  if (found.zero_point.empty()) found.zero_point.assign(found.scale.size(), 0);
  const size_t scales = found.scale.size();
  if (found.zero_point.size() != scales && found.zero_point.size() != 1) {
    return Malformed(
        FormatString("a tensor has {} scales but {} zero points", scales, found.zero_point.size()));
  }
  found.zero_point.resize(scales, found.zero_point[0]);
  if (scales > 1) {
    if (found.axis < 0 || static_cast<size_t>(found.axis) >= tensor->shape.size() ||
        tensor->shape[found.axis] != static_cast<int64_t>(scales)) {
      return Malformed(FormatString("a tensor has {} scales for axis {}, which has another extent",
                                    scales, found.axis));
    }
  }
  for (const float scale : found.scale) {
    if (!std::isfinite(scale) || scale < 0) return Malformed("a scale is negative or not finite");
  }
  // Written for float tensors by converters that keep statistics, and as 0 for tensors that were never quantized.
  if (scales == 1 && found.scale[0] == 0) return absl::OkStatus();
  tensor->quantization = std::move(found);
  return absl::OkStatus();
}

}  // namespace modelpress::tflite
