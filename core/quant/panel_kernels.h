// SIMD kernels on panels: matrices of kTileColumns columns, row after row.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/quant/tile_kernels.h"

namespace modelpress {

// sums[r][c] += sum over i < count of factors[r * stride + i] panel[i][c], for `rows` rows of
// kTileColumns sums. Each element is added up in the order of i: the same on every instruction set
// and for any split of the rows. Thread-safe.
void AddProduct(const float* panel, const float* factors, size_t stride, size_t rows, size_t count,
                float* sums);

// difference = values - scale (code - zero point), for the rows of a block.
void SubtractDecoded(const float* values, const uint8_t* codes, const TileCodes& parameters,
                     size_t rows, float* difference);

// tr(D^T G D) over the first `columns` columns of the panel D, with the symmetric rows x rows matrix
// G: for D = W - V and G the mean of x x^T, the mean squared error of x V in the place of x W.
double QuadraticForm(const float* panel, std::span<const float> gram, uint64_t rows,
                     size_t columns);

}  // namespace modelpress
