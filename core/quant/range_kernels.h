// SIMD kernels: the range of values of rows and of columns of float32 numbers.
//
// Pointers may have any alignment. Results are the same on every instruction set (maxima do not
// depend on order). Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/quant/affine.h"

namespace modelpress {

// Range of `count` values. With `symmetric` only max |x| is computed (cheaper): the range is [-a,
// a].
ValueRange RangeOf(const float* values, size_t count, bool symmetric);

// Column-wise over a row-major matrix: min[c] and max[c] are lowered and raised to hold every value
// of column c; they start as the caller set them (0 for a range that holds 0). With `symmetric`,
// max[c] becomes max |x| and `min` may be null. Returns false if any value is NaN or infinite.
bool ColumnRanges(const float* matrix, size_t rows, size_t columns, bool symmetric, float* min,
                  float* max);

}  // namespace modelpress
