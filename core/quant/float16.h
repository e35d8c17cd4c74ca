// float32 to IEEE 754 binary16 and back. Pure and thread-safe; any alignment.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/quant/code_kernels.h"

namespace modelpress {

// Largest finite float16, and the smallest positive one (2^-24, subnormal).
inline constexpr float kHalfMax = 65504.0f;
inline constexpr float kHalfMin = 5.9604644775390625e-8f;

// Round half to even; what is too large becomes infinity, NaN stays NaN.
uint16_t FloatToHalf(float value);
float HalfToFloat(uint16_t half);

struct HalfConversion {
  // Values moved to +-kHalfMax, and those other than 0 moved to +-kHalfMin (0 in their place might
  // become a division by zero).
  uint64_t clamped_large = 0;
  uint64_t clamped_small = 0;
  ErrorSums sums;
};

// `floats` holds 4 n bytes, `halves` room for 2 n. Infinities and NaN are kept and left out of the
// sums.
HalfConversion ConvertToHalf(std::span<const std::byte> floats, std::span<std::byte> halves);

}  // namespace modelpress
