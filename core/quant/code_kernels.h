// SIMD kernels: float32 numbers to 8-bit codes, with the squared error counted on the way.
//
//   code = clip(round_half_even(x / scale)) + zero_point, 0 where |x| <= dead_zone
//
// Division is a true one, so codes equal those of the formula bit for bit; sums run over 16 virtual
// lanes and are the same on every instruction set. Pointers may have any alignment. Values must be
// finite. Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/quant/affine.h"

namespace modelpress {

// Sums of squares of the values, and of what rounding took from them.
struct ErrorSums {
  double signal = 0;
  double noise = 0;

  void Add(const ErrorSums& other) {
    signal += other.signal;
    noise += other.noise;
  }
};

// No value is in the dead zone.
inline constexpr float kNoDeadZone = -1.0f;

// `count` values of one channel. Codes are int8 or uint8 as the rule says. The memory `ahead` elements further on is
// brought towards the cache meanwhile (0: none); it is not read.
ErrorSums QuantizeRow(const float* values, size_t count, const AffineRule& rule,
                      const AffineParameters& parameters, float dead_zone, size_t ahead,
                      uint8_t* codes);

// A row-major matrix whose column c has scale[c] and zero_point[c] (null: all 0). `weight[c]` is
// scale[c] / unit, and the sums come in units of unit^2 (so that squares do not overflow).
ErrorSums QuantizeColumns(const float* matrix, size_t rows, size_t columns, const AffineRule& rule,
                          const float* scales, const float* zero_points, const float* weight,
                          float dead_zone, uint8_t* codes);

}  // namespace modelpress
