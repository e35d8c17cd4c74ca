// float32 to bfloat16; see bfloat16.h.
#include "core/quant/bfloat16.h"

#include <bit>
#include <cmath>
#include <cstring>

namespace modelpress {

uint16_t FloatToBfloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  // Rounding could carry a NaN's payload into infinity: keep it quiet instead.
  if (std::isnan(value)) return static_cast<uint16_t>(bits >> 16 | 0x40);
  const uint32_t tie = bits >> 16 & 1;
  return static_cast<uint16_t>((bits + 0x7FFF + tie) >> 16);
}

Bfloat16Conversion ConvertToBfloat16(std::span<const std::byte> floats,
                                     std::span<std::byte> halves) {
  constexpr uint16_t kInfinity = 0x7F80;
  Bfloat16Conversion result;
  for (size_t i = 0; i < floats.size() / sizeof(float); ++i) {
    float value;
    std::memcpy(&value, floats.data() + i * sizeof(value), sizeof(value));
    uint16_t half = FloatToBfloat16(value);
    if (std::isfinite(value)) {
      if ((half & 0x7FFF) == kInfinity) {
        --half;
        ++result.clamped;
      }
      const double kept = std::bit_cast<float>(static_cast<uint32_t>(half) << 16);
      result.sums.signal += static_cast<double>(value) * value;
      result.sums.noise += (value - kept) * (value - kept);
    }
    std::memcpy(halves.data() + i * sizeof(half), &half, sizeof(half));
  }
  return result;
}

}  // namespace modelpress
