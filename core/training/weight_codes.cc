// Codes as numbers and back: see weight_codes.h.
#include "core/training/weight_codes.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "core/base/format_string.h"
#include "core/base/status.h"

namespace modelpress {
namespace {

// A 4-bit element, the first of a byte in the low half.
int Nibble(std::span<const std::byte> bytes, uint64_t index) {
  return std::to_integer<int>(bytes[index / 2]) >> (index % 2 * 4) & 15;
}

void SetNibble(std::vector<std::byte>& bytes, uint64_t index, int value) {
  const int shift = index % 2 * 4;
  std::byte& byte = bytes[index / 2];
  byte =
      static_cast<std::byte>((std::to_integer<int>(byte) & ~(15 << shift)) | (value & 15) << shift);
}

absl::StatusOr<float> ElementOf(DataType type, std::span<const std::byte> bytes, uint64_t index) {
  switch (type) {
    case DataType::kInt8:
      return static_cast<float>(static_cast<int8_t>(bytes[index]));
    case DataType::kUint8:
      return static_cast<float>(std::to_integer<int>(bytes[index]));
    case DataType::kUint4:
      return static_cast<float>(Nibble(bytes, index));
    case DataType::kInt4: {
      const int half = Nibble(bytes, index);
      return static_cast<float>(half > 7 ? half - 16 : half);
    }
    default:
      return Error(ERROR_REASON_MODEL_MALFORMED,
                   FormatString("codes of type {} are not known here", DataTypeName(type)));
  }
}

// Where element (row, column) of MatMulNBits' [N, blocks, block_size / 2] lies, as a 4-bit index.
uint64_t PackedIndex(const Trainable& weight, uint64_t row, uint64_t column) {
  const auto block = static_cast<uint64_t>(weight.grid.block_size);
  const uint64_t blocks = (static_cast<uint64_t>(weight.dims[1]) + block - 1) / block;
  return row * blocks * block + column;
}

absl::Status Malformed(const Trainable& weight) {
  return Error(ERROR_REASON_MODEL_MALFORMED, "codes, scales and zero points do not fit each other")
      .Tensor(weight.name)
      .Node(weight.node);
}

uint64_t CountOf(std::span<const int64_t> dims) {
  return static_cast<uint64_t>(
      std::accumulate(dims.begin(), dims.end(), int64_t{1}, std::multiplies<>()));
}

}  // namespace

uint64_t DecodedCodes::ScaleIndex(const Trainable& weight, uint64_t element) const {
  const int64_t axis = weight.grid.axis;
  if (axis < 0) return 0;
  uint64_t inner = 1;
  for (size_t i = static_cast<size_t>(axis) + 1; i < weight.dims.size(); ++i) {
    inner *= static_cast<uint64_t>(weight.dims[i]);
  }
  const auto extent = static_cast<uint64_t>(weight.dims[axis]);
  const uint64_t at = element / inner % extent;
  if (weight.grid.block_size == 0) return at;
  const auto block = static_cast<uint64_t>(weight.grid.block_size);
  const uint64_t blocks = (extent + block - 1) / block;
  return (element / inner / extent * blocks + at / block) * inner + element % inner;
}

absl::StatusOr<DecodedCodes> DecodeCodes(const Model& model, const Trainable& weight) {
  DecodedCodes decoded;
  const CodeGrid& grid = weight.grid;
  MP_ASSIGN_OR_RETURN(const auto bytes, model.Bytes(*weight.tensor));
  MP_ASSIGN_OR_RETURN(const auto scale_bytes, model.Bytes(*grid.scales));
  const uint64_t count = CountOf(weight.dims);
  decoded.scales.resize(scale_bytes.size() / sizeof(float));
  std::memcpy(decoded.scales.data(), scale_bytes.data(), decoded.scales.size() * sizeof(float));
  decoded.zero_points.assign(decoded.scales.size(), grid.matmul_nbits ? 8.0f : 0.0f);
  decoded.codes.resize(count);
  std::span<const std::byte> zero_bytes;
  if (grid.zero_points != nullptr) {
    MP_ASSIGN_OR_RETURN(zero_bytes, model.Bytes(*grid.zero_points));
  }
  if (grid.matmul_nbits) {
    const auto rows = static_cast<uint64_t>(weight.dims[0]);
    const auto columns = static_cast<uint64_t>(weight.dims[1]);
    const auto block = static_cast<uint64_t>(grid.block_size);
    const uint64_t blocks = (columns + block - 1) / block, zero_row = (blocks + 1) / 2;
    decoded.scale_dims = {weight.dims[0], static_cast<int64_t>(blocks)};
    if (decoded.scales.size() != rows * blocks || bytes.size() != rows * blocks * block / 2 ||
        (!zero_bytes.empty() && zero_bytes.size() != rows * zero_row)) {
      return Malformed(weight);
    }
    for (uint64_t row = 0; row < rows; ++row) {
      for (uint64_t column = 0; column < columns; ++column) {
        decoded.codes[row * columns + column] =
            static_cast<float>(Nibble(bytes, PackedIndex(weight, row, column)));
      }
      for (uint64_t b = 0; b < blocks && !zero_bytes.empty(); ++b) {
        decoded.zero_points[row * blocks + b] =
            static_cast<float>(Nibble(zero_bytes, row * zero_row * 2 + b));
      }
    }
  } else {
    const DataType type = Type(*weight.tensor);
    MP_ASSIGN_OR_RETURN(const uint64_t length, ByteCount(type, count));
    if (bytes.size() != length) return Malformed(weight);
    for (uint64_t i = 0; i < count; ++i) {
      MP_ASSIGN_OR_RETURN(decoded.codes[i], ElementOf(type, bytes, i));
    }
    decoded.scale_dims.assign(grid.scales->dims().begin(), grid.scales->dims().end());
    if (grid.zero_points != nullptr) {
      if (Type(*grid.zero_points) != type) return Malformed(weight);
      MP_ASSIGN_OR_RETURN(const uint64_t zero_length, ByteCount(type, decoded.scales.size()));
      if (zero_bytes.size() != zero_length) return Malformed(weight);
      for (uint64_t i = 0; i < decoded.scales.size(); ++i) {
        MP_ASSIGN_OR_RETURN(decoded.zero_points[i], ElementOf(type, zero_bytes, i));
      }
    }
  }
  if (count > 0) {
    const auto [low, high] = std::ranges::minmax_element(decoded.codes);
    decoded.low = *low;
    decoded.high = *high;
    int step = 0;
    for (const float code : decoded.codes) step = std::gcd(step, static_cast<int>(code - *low));
    decoded.step = static_cast<float>(std::max(step, 1));
  }
  return decoded;
}

absl::StatusOr<std::vector<std::byte>> EncodeCodes(const Model& model, const Trainable& weight,
                                                   std::span<const float> codes) {
  MP_ASSIGN_OR_RETURN(const auto before, model.Bytes(*weight.tensor));
  std::vector<std::byte> bytes(before.begin(), before.end());
  const DataType type = Type(*weight.tensor);
  if (weight.grid.matmul_nbits) {
    const auto columns = static_cast<uint64_t>(weight.dims[1]);
    for (uint64_t i = 0; i < codes.size(); ++i) {
      SetNibble(bytes, PackedIndex(weight, i / columns, i % columns), static_cast<int>(codes[i]));
    }
    return bytes;
  }
  for (uint64_t i = 0; i < codes.size(); ++i) {
    const int code = static_cast<int>(codes[i]);
    if (BitsPerElement(type) == 4) {
      SetNibble(bytes, i, code);
    } else {
      bytes[i] = static_cast<std::byte>(code);
    }
  }
  return bytes;
}

}  // namespace modelpress
