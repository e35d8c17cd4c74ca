// float32 to bfloat16. Pure and thread-safe; any alignment.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/quant/code_kernels.h"

namespace modelpress {

// bfloat16 is the upper half of a float32: same range, 8 bits of significand. Round half to even;
// infinity and NaN stay what they are.
uint16_t FloatToBfloat16(float value);

struct Bfloat16Conversion {
  // Finite values that would round to infinity and became the largest finite number.
  uint64_t clamped = 0;
  ErrorSums sums;  // of finite values
};

// `floats` holds 4 n bytes, `halves` room for 2 n.
Bfloat16Conversion ConvertToBfloat16(std::span<const std::byte> floats,
                                     std::span<std::byte> halves);

}  // namespace modelpress
