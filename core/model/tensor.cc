// Tensors in memory: see tensor.h.
#include "core/model/tensor.h"

#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <utility>

#include "core/base/format_string.h"
#include "core/base/status.h"

namespace modelpress {
namespace {

template <typename T>
double Load(const Tensor& tensor, uint64_t index) {
  T value;
  std::memcpy(&value, tensor.bytes.data() + index * sizeof(T), sizeof(T));
  return static_cast<double>(value);
}

enum class Specials {
  kIeee,          // highest exponent: infinity and NaN
  kFiniteNan,     // "fn": no infinity; all ones is NaN
  kUnsignedZero,  // "fnuz": no infinity, no negative zero; negative zero's pattern is NaN
  kNone,          // every pattern is a number
};

// A binary floating-point pattern of sign, exponent and fraction (IEEE 754; for 8 and 4 bits Micikevicius et al.,
// "FP8 Formats for Deep Learning", and the OCP MX specification).
double DecodeFloat(uint32_t pattern, int exponent_bits, int fraction_bits, int bias,
                   Specials specials) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  const uint32_t fraction_mask = (1u << fraction_bits) - 1;
  const uint32_t exponent_mask = (1u << exponent_bits) - 1;
  const uint32_t fraction = pattern & fraction_mask;
  const uint32_t exponent = (pattern >> fraction_bits) & exponent_mask;
  const bool negative = (pattern >> (fraction_bits + exponent_bits)) & 1;
  const bool ones = exponent == exponent_mask;
  if (specials == Specials::kIeee && ones) {
    if (fraction != 0) return kNan;
    return negative ? -std::numeric_limits<double>::infinity()
                    : std::numeric_limits<double>::infinity();
  }
  if (specials == Specials::kFiniteNan && ones && fraction == fraction_mask) return kNan;
  if (specials == Specials::kUnsignedZero && negative && exponent == 0 && fraction == 0) {
    return kNan;
  }
  const double significand = std::ldexp(fraction, -fraction_bits) + (exponent == 0 ? 0.0 : 1.0);
  const double value =
      std::ldexp(significand, (exponent == 0 ? 1 : static_cast<int>(exponent)) - bias);
  return negative ? -value : value;
}

uint32_t Nibble(const Tensor& tensor, uint64_t index) {
  const auto byte = std::to_integer<uint32_t>(tensor.bytes[index / 2]);
  return index % 2 == 0 ? byte & 0xF : byte >> 4;  // the first element is in the low half
}

}  // namespace

absl::StatusOr<Tensor> Tensor::Make(DataType type, std::vector<int64_t> dims,
                                    std::span<std::byte>* data) {
  MP_ASSIGN_OR_RETURN(const uint64_t count, ElementCount(dims));
  Tensor tensor;
  tensor.type = type;
  tensor.dims = std::move(dims);
  *data = {};
  if (type == DataType::kString) {
    tensor.strings.resize(count);
    return tensor;
  }
  MP_ASSIGN_OR_RETURN(const uint64_t size, ByteCount(type, count));
  // calloc gives zero pages without touching them, aligned for every element type.
  std::shared_ptr<void> block(std::calloc(size == 0 ? 1 : size, 1), std::free);
  if (block == nullptr) {
    return Error(ERROR_REASON_MEMORY_BUDGET,
                 FormatString("no memory for a tensor of {} bytes", size))
        .With("needed", std::to_string(size));
  }
  *data = {static_cast<std::byte*>(block.get()), size};
  tensor.bytes = *data;
  tensor.owner = std::move(block);
  return tensor;
}

uint64_t Tensor::element_count() const {
  if (type == DataType::kString) return strings.size();
  const absl::StatusOr<uint64_t> count = ElementCount(dims);
  return count.ok() ? *count : 0;
}

double ElementAsDouble(const Tensor& tensor, uint64_t index) {
  switch (tensor.type) {
    case DataType::kFloat:
      return Load<float>(tensor, index);
    case DataType::kDouble:
      return Load<double>(tensor, index);
    case DataType::kBool:
    case DataType::kUint8:
      return Load<uint8_t>(tensor, index);
    case DataType::kInt8:
      return Load<int8_t>(tensor, index);
    case DataType::kUint16:
      return Load<uint16_t>(tensor, index);
    case DataType::kInt16:
      return Load<int16_t>(tensor, index);
    case DataType::kUint32:
      return Load<uint32_t>(tensor, index);
    case DataType::kInt32:
      return Load<int32_t>(tensor, index);
    case DataType::kUint64:
      return Load<uint64_t>(tensor, index);
    case DataType::kInt64:
      return Load<int64_t>(tensor, index);
    case DataType::kUint4:
      return Nibble(tensor, index);
    case DataType::kInt4:
      return static_cast<int>(Nibble(tensor, index) ^ 8) - 8;
    case DataType::kFloat4E2M1:
      return DecodeFloat(Nibble(tensor, index), 2, 1, 1, Specials::kNone);
    case DataType::kBfloat16:
    case DataType::kFloat16: {
      uint16_t pattern;
      std::memcpy(&pattern, tensor.bytes.data() + index * 2, 2);
      if (tensor.type == DataType::kFloat16) {
        return DecodeFloat(pattern, 5, 10, 15, Specials::kIeee);
      }
      return std::bit_cast<float>(static_cast<uint32_t>(pattern) << 16);
    }
    case DataType::kFloat8E4M3FN:
      return DecodeFloat(std::to_integer<uint32_t>(tensor.bytes[index]), 4, 3, 7,
                         Specials::kFiniteNan);
    case DataType::kFloat8E4M3FNUZ:
      return DecodeFloat(std::to_integer<uint32_t>(tensor.bytes[index]), 4, 3, 8,
                         Specials::kUnsignedZero);
    case DataType::kFloat8E5M2:
      return DecodeFloat(std::to_integer<uint32_t>(tensor.bytes[index]), 5, 2, 15, Specials::kIeee);
    case DataType::kFloat8E5M2FNUZ:
      return DecodeFloat(std::to_integer<uint32_t>(tensor.bytes[index]), 5, 2, 16,
                         Specials::kUnsignedZero);
    case DataType::kUndefined:
    case DataType::kString:
    case DataType::kComplex64:
    case DataType::kComplex128:
      break;
  }
  return std::numeric_limits<double>::quiet_NaN();
}

}  // namespace modelpress
