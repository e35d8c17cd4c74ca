// Tensors of a model as libtorch's: see constant_tensor.h.
#include "core/trainer/constant_tensor.h"

#include <cstring>

#include "core/base/format_string.h"
#include "core/base/status.h"

namespace modelpress::trainer {
namespace {

// Elements of T widened to `type`, from any alignment.
template <typename T, typename Wide>
at::Tensor Widened(std::span<const std::byte> bytes, at::IntArrayRef dims, at::ScalarType type) {
  at::Tensor result = at::empty(dims, type);
  Wide* const to = result.mutable_data_ptr<Wide>();
  for (int64_t i = 0; i < result.numel(); ++i) {
    T value;
    std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
    to[i] = static_cast<Wide>(value);
  }
  return result;
}

// Two to a byte, the first in the low half.
template <typename T>
at::Tensor Unpacked(std::span<const std::byte> bytes, at::IntArrayRef dims, at::ScalarType type) {
  at::Tensor result = at::empty(dims, type);
  T* const to = result.mutable_data_ptr<T>();
  for (int64_t i = 0; i < result.numel(); ++i) {
    const int half = std::to_integer<int>(bytes[i / 2]) >> (i % 2 * 4) & 15;
    to[i] = static_cast<T>(std::is_signed_v<T> && half > 7 ? half - 16 : half);
  }
  return result;
}

// Elements as they are, copied.
at::Tensor Copied(std::span<const std::byte> bytes, at::IntArrayRef dims, at::ScalarType type) {
  at::Tensor result = at::empty(dims, type);
  if (!bytes.empty()) std::memcpy(result.mutable_data_ptr(), bytes.data(), bytes.size());
  return result;
}

}  // namespace

absl::StatusOr<at::Tensor> TensorFromBytes(int32_t onnx_type, std::span<const int64_t> dims,
                                           std::span<const std::byte> bytes,
                                           at::ScalarType float_type) {
  const auto type = static_cast<DataType>(onnx_type);
  MP_ASSIGN_OR_RETURN(const uint64_t count, ElementCount(dims));
  MP_ASSIGN_OR_RETURN(const uint64_t length, ByteCount(type, count));
  if (length != bytes.size()) {
    return Error(
        ERROR_REASON_MODEL_MALFORMED,
        FormatString("a tensor has {} bytes where its shape needs {}", bytes.size(), length));
  }
  const at::IntArrayRef shape(dims.data(), dims.size());
  switch (type) {
    case DataType::kFloat: {
      const bool aligned = reinterpret_cast<uintptr_t>(bytes.data()) % sizeof(float) == 0;
      if (aligned && float_type == at::kFloat && count > 0) {
        return at::from_blob(const_cast<std::byte*>(bytes.data()), shape, at::kFloat);
      }
      return Copied(bytes, shape, at::kFloat).to(float_type);
    }
    case DataType::kDouble:
      return Copied(bytes, shape, at::kDouble).to(float_type);
    case DataType::kFloat16:
      return Copied(bytes, shape, at::kHalf).to(float_type);
    case DataType::kBfloat16:
      return Copied(bytes, shape, at::kBFloat16).to(float_type);
    case DataType::kBool:
      return Copied(bytes, shape, at::kByte).to(at::kBool);
    case DataType::kInt8:
      return Copied(bytes, shape, at::kChar);
    case DataType::kUint8:
      return Copied(bytes, shape, at::kByte);
    case DataType::kInt16:
      return Copied(bytes, shape, at::kShort);
    case DataType::kInt32:
      return Copied(bytes, shape, at::kInt);
    case DataType::kInt64:
    case DataType::kUint64:
      return Copied(bytes, shape, at::kLong);
    case DataType::kUint16:
      return Widened<uint16_t, int32_t>(bytes, shape, at::kInt);
    case DataType::kUint32:
      return Widened<uint32_t, int64_t>(bytes, shape, at::kLong);
    case DataType::kInt4:
      return Unpacked<int8_t>(bytes, shape, at::kChar);
    case DataType::kUint4:
      return Unpacked<uint8_t>(bytes, shape, at::kByte);
    default:
      return Error(ERROR_REASON_OP_UNSUPPORTED,
                   FormatString("tensors of type {} are not trained with", DataTypeName(type)));
  }
}

absl::StatusOr<at::Tensor> TensorOf(const Model& model, const onnx::TensorProto& tensor,
                                    at::ScalarType float_type) {
  if (Type(tensor) == DataType::kString) {
    return Error(ERROR_REASON_OP_UNSUPPORTED, "models with strings are not trained")
        .Tensor(tensor.name());
  }
  MP_ASSIGN_OR_RETURN(const auto bytes, model.Bytes(tensor));
  auto result = TensorFromBytes(tensor.data_type(), Dims(tensor), bytes, float_type);
  return result.ok() ? result : Annotate(result.status(), "tensor", tensor.name());
}

at::Tensor InlineTensor(const onnx::TensorProto& tensor, at::ScalarType float_type) {
  const auto result = TensorFromBytes(
      tensor.data_type(), {tensor.dims().data(), static_cast<size_t>(tensor.dims_size())},
      std::as_bytes(std::span(tensor.raw_data())), float_type);
  if (!result.ok()) throw OperatorError(std::string(result.status().message()));
  return result->clone();
}

}  // namespace modelpress::trainer
