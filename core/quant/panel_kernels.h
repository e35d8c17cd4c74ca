// SIMD kernels on panels: matrices of kTileColumns columns, row after row.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/quant/tile_kernels.h"

namespace modelpress {

// sum[c] += sum over i < count of factors[i] panel[i][c], in this order: the same on every
// instruction set. Thread-safe.
void AddRowsOf(const float* panel, const float* factors, size_t count, float* sum);

}  // namespace modelpress
