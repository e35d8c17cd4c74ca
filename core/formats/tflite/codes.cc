// Codes and constants of a graph under translation: quantization, and constants in another order.
#include <algorithm>
#include <cstring>
#include <limits>

#include "core/base/status.h"
#include "core/formats/tflite/conversion.h"
#include "core/rewrite/turn_constant.h"

namespace modelpress::tflite {
namespace {

// IEEE 754 binary16 to binary32, exact.
float HalfToFloat(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  const uint32_t exponent = (half >> 10) & 0x1Fu;
  uint32_t mantissa = half & 0x3FFu;
  uint32_t bits = 0;
  if (exponent == 0x1F) {
    bits = sign | 0x7F800000u | mantissa << 13;
  } else if (exponent != 0) {
    bits = sign | (exponent + 112) << 23 | mantissa << 13;
  } else if (mantissa == 0) {
    bits = sign;
  } else {
    uint32_t shifted = 113;
    while ((mantissa & 0x400u) == 0) {
      mantissa <<= 1;
      --shifted;
    }
    bits = sign | shifted << 23 | (mantissa & 0x3FFu) << 13;
  }
  float value = 0;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

// Codes of four bits in another order of axes, one by one: they need no room at a byte each.
void TransposeNibbles(std::span<const std::byte> packed, const std::vector<int64_t>& dims,
                      const std::vector<int64_t>& perm, std::span<std::byte> turned) {
  const size_t rank = dims.size();
  std::vector<uint64_t> strides(rank, 1), step(rank), extent(rank), at(rank, 0);
  for (size_t i = rank; i-- > 1;) strides[i - 1] = strides[i] * static_cast<uint64_t>(dims[i]);
  uint64_t count = 1;
  for (size_t i = 0; i < rank; ++i) {
    step[i] = strides[static_cast<size_t>(perm[i])];
    extent[i] = static_cast<uint64_t>(dims[static_cast<size_t>(perm[i])]);
    count *= extent[i];
  }
  std::ranges::fill(turned, std::byte{0});
  uint64_t from = 0;
  for (uint64_t i = 0; i < count; ++i) {
    const std::byte code =
        (from % 2 == 0 ? packed[from / 2] : packed[from / 2] >> 4) & std::byte{0x0F};
    turned[i / 2] |= code << (i % 2 == 0 ? 0 : 4);
    for (size_t axis = rank; axis-- > 0;) {
      from += step[axis];
      if (++at[axis] < extent[axis]) break;
      from -= step[axis] * extent[axis];
      at[axis] = 0;
    }
  }
}

void PackNibbles(std::span<const std::byte> codes, std::span<std::byte> packed) {
  std::ranges::fill(packed, std::byte{0});
  for (uint64_t i = 0; i < codes.size(); ++i) packed[i / 2] |= codes[i] << (i % 2 == 0 ? 0 : 4);
}

}  // namespace

bool IsQuantized(const SourceTensor& tensor) {
  if (!tensor.quantization.has_value()) return false;
  switch (tensor.type) {
    case TensorType::INT8:
    case TensorType::UINT8:
    case TensorType::INT16:
    case TensorType::INT4:
    case TensorType::UINT4:
      return true;
    default:
      return false;
  }
}

bool StaysHalf(const SourceTensor& tensor) {
  return tensor.constant && tensor.type == TensorType::FLOAT16 && tensor.data.length > kInlineBytes;
}

bool SameCodes(const SourceTensor& a, const SourceTensor& b) {
  if (a.type != b.type) return false;
  if (IsQuantized(a) != IsQuantized(b)) return false;
  if (!IsQuantized(a)) return true;
  const Quantization &x = *a.quantization, &y = *b.quantization;
  return x.block_size == 0 && y.block_size == 0 && !x.per_axis() && !y.per_axis() &&
         x.scale == y.scale && x.zero_point == y.zero_point;
}

absl::StatusOr<std::string> GraphScope::AddPermuted(const SourceTensor& tensor,
                                                    const std::vector<int64_t>& perm) {
  DataType type = ToOnnxType(tensor.type);
  const int bits = BitsPerElement(type);
  if (bits == 0 || perm.size() != tensor.shape.size()) {
    return Error(ERROR_REASON_OP_UNSUPPORTED,
                 "a constant has a type or rank that is not known here")
        .Tensor(tensor.name);
  }
  std::vector<int64_t> dims;
  for (const int64_t axis : perm) dims.push_back(tensor.shape[axis]);
  MP_ASSIGN_OR_RETURN(const uint64_t count, ElementCount(dims));
  // One buffer may be the weights of many operators.
  std::string& made = conversion_.permuted[{tensor.data.file.get(), tensor.data.offset,
                                            tensor.data.length, tensor.type, tensor.shape, perm}];
  if (!made.empty()) return made;
  const std::string name(tensor.name.empty() ? "weight" : tensor.name);
  const bool widen = type == DataType::kFloat16 && !StaysHalf(tensor);
  if (widen) type = DataType::kFloat;
  MP_ASSIGN_OR_RETURN(const uint64_t length, ByteCount(type, count));
  if (count == 0) return builder_.model().Weight(name, type, dims, std::span<const std::byte>());
  if (!widen && bits != 4) {
    MP_ASSIGN_OR_RETURN(const WeightRef turned,
                        TransposedWeight(tensor.data.bytes(), tensor.shape, perm, bits / 8,
                                         builder_.model().arena()));
    MP_ASSIGN_OR_RETURN(made, builder_.model().Weight(name, type, dims, turned));
    return made;
  }
  MP_ASSIGN_OR_RETURN(WeightArena::Room room, builder_.model().arena().Allocate(length));
  if (widen) {
    // Turned first, then widened from the far end of the same room.
    const std::span<std::byte> half = room.bytes.first(count * 2);
    TransposeBytes(tensor.data.bytes(), tensor.shape, perm, 2, half);
    for (uint64_t i = count; i-- > 0;) {
      uint16_t bits16 = 0;
      std::memcpy(&bits16, room.bytes.data() + 2 * i, sizeof(bits16));
      const float value = HalfToFloat(bits16);
      std::memcpy(room.bytes.data() + 4 * i, &value, sizeof(value));
    }
  } else {
    TransposeNibbles(tensor.data.bytes(), tensor.shape, perm, room.bytes);
  }
  MP_ASSIGN_OR_RETURN(made, builder_.model().Weight(name, type, dims, room.weight));
  return made;
}

absl::StatusOr<std::pair<std::string, std::string>> GraphScope::QuantizationConstants(
    const Quantization& quantization, DataType type) {
  import::ModelBuilder& model = builder_.model();
  std::vector<int64_t> dims;
  if (quantization.per_axis()) dims.push_back(static_cast<int64_t>(quantization.scale.size()));
  std::vector<std::byte> zeros;
  const auto put = [&](auto sample) {
    for (const int64_t zero_point : quantization.zero_point) {
      using T = decltype(sample);
      if (zero_point < static_cast<int64_t>(std::numeric_limits<T>::min()) ||
          zero_point > static_cast<int64_t>(std::numeric_limits<T>::max())) {
        return false;
      }
      const T value = static_cast<T>(zero_point);
      const auto bytes = std::as_bytes(std::span(&value, 1));
      zeros.insert(zeros.end(), bytes.begin(), bytes.end());
    }
    return true;
  };
  bool fits = false;
  switch (type) {
    case DataType::kInt8:
      fits = put(int8_t{});
      break;
    case DataType::kUint8:
      fits = put(uint8_t{});
      break;
    case DataType::kInt16:
      fits = put(int16_t{});
      break;
    case DataType::kInt32:
      fits = put(int32_t{});
      break;
    case DataType::kInt4:
    case DataType::kUint4: {
      fits = put(int8_t{});
      std::vector<std::byte> packed((zeros.size() + 1) / 2);
      for (std::byte& code : zeros) code &= std::byte{0x0F};
      PackNibbles(zeros, packed);
      zeros = std::move(packed);
      break;
    }
    default:
      break;
  }
  if (!fits)
    return Error(ERROR_REASON_MODEL_MALFORMED, "a zero point does not fit its tensor's type");
  return std::pair(model.Floats(quantization.scale, dims), model.Constant(type, dims, zeros));
}

// Most nodes of a quantized model are these: they have no names of their own, and the real numbers short ones, as longer ones
// made small models a tenth larger.
std::string GraphScope::AddUnnamed(std::string_view op, import::Names inputs,
                                   import::Attributes attributes) {
  const std::string value = builder_.Add(op, std::move(inputs), std::move(attributes));
  builder_.graph().mutable_node(builder_.graph().node_size() - 1)->clear_name();
  return op == "DequantizeLinear" ? builder_.Rename(value, "real", /*must=*/false) : value;
}

absl::StatusOr<std::string> GraphScope::Dequantize(const std::string& codes,
                                                   const SourceTensor& tensor, int axis) {
  const Quantization& quantization = *tensor.quantization;
  if (quantization.block_size > 0) {
    const int64_t last = static_cast<int64_t>(tensor.shape.size()) - 1;
    const SourceTensor& scales = Tensor(quantization.scales_tensor);
    if (!scales.constant || scales.shape.size() != tensor.shape.size() ||
        quantization.zero_points_tensor >= 0) {
      return Error(ERROR_REASON_OP_UNSUPPORTED,
                   "block-wise quantization is known with constant scales, one for each "
                   "block of the last axis, and without zero points")
          .Tensor(tensor.name);
    }
    MP_ASSIGN_OR_RETURN(const std::string scale, Real(quantization.scales_tensor));
    return builder_.Add("DequantizeLinear", {codes, scale},
                        {{"axis", last}, {"block_size", quantization.block_size}});
  }
  absl::StatusOr<std::pair<std::string, std::string>> constants =
      QuantizationConstants(quantization, ToOnnxType(tensor.type));
  if (!constants.ok()) return Annotate(constants.status(), "tensor", tensor.name);
  import::Attributes attributes;
  if (quantization.per_axis()) attributes.push_back({"axis", static_cast<int64_t>(axis)});
  return AddUnnamed("DequantizeLinear", {codes, constants->first, constants->second},
                    std::move(attributes));
}

absl::StatusOr<std::string> GraphScope::Quantize(const std::string& real,
                                                 const SourceTensor& tensor) {
  const Quantization& quantization = *tensor.quantization;
  if (quantization.block_size > 0) {
    return Error(ERROR_REASON_OP_UNSUPPORTED,
                 "values that are computed cannot be quantized by block")
        .Tensor(tensor.name);
  }
  absl::StatusOr<std::pair<std::string, std::string>> constants =
      QuantizationConstants(quantization, ToOnnxType(tensor.type));
  if (!constants.ok()) return Annotate(constants.status(), "tensor", tensor.name);
  import::Attributes attributes;
  if (quantization.per_axis())
    attributes.push_back({"axis", static_cast<int64_t>(quantization.axis)});
  return AddUnnamed("QuantizeLinear", {real, constants->first, constants->second},
                    std::move(attributes));
}

}  // namespace modelpress::tflite
