// SIMD kernels: tiles of float32 values to codes of few bits, one scale and zero point per column.
//
// A tile is one block of up to 64 columns, kept row after row; columns are lanes, so that every
// column is worked on in the same order on every instruction set and the codes are the same
// everywhere. Formulas (n = x / scale of plain rounding, L = 2^bits - 1, h = importance of a row):
//
//   rtn       symmetric: scale = v / -2^(bits-1), v the value of largest magnitude, zero point
//             2^(bits-1); asymmetric: min and max with 0, scale = (max - min) / L, zero point =
//             round(-min / scale). code = round(x * (1 / scale) + zero point), halves up, clipped.
//             (ONNX Runtime, mlas/lib/q4_dq.cpp: equal bit for bit at 4 bits.)
//   mse_clip  the range shrunk by 1, 1.1, ... 2 around its middle: least sum h (x - x')^2
//   kquant    for 8 inverse scales: codes; scale and minimum by least squares weighted with
//             h (|n| + rms n); zero point rounded; codes again; scale by least squares. Least
//             weighted error. (llama.cpp, ggml-quants.c: make_qkx2_quants.) Symmetric: for 12
//             inverse scales the scale only.
//   weighted  the same weighted with h alone (scale estimation in NNCF: scale = sum h x q / sum h q^2)
//   hqq       20 times: zero = mean(code - (n - shrink(n - n'))), shrink(e) = sign(e) max(0, |e| -
//             |e|^-0.3 / beta), beta = 10 * 1.01^i; then the scale by least squares, for a few
//             ranges. (Badri and Shaji, Half-Quadratic Quantization, 2023; here in units of the
//             scale, so that the unit of the weights does not matter.)
//
// kquant and hqq of plain rounding's quality or worse do not occur within a block: plain rounding
// is one of their candidates, judged by the same error. Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/quant/block_rule.h"
#include "core/quant/code_kernels.h"

namespace modelpress {

inline constexpr size_t kTileColumns = 64;

struct TileCodes {
  // In stored form: times spread().
  float scales[kTileColumns] = {};
  uint8_t zero_points[kTileColumns] = {};
  // Squares of the values, what the codes take from them, and what plain rounding would have; each
  // row counts by its importance.
  double signal = 0;
  double noise = 0;
  double plain_noise = 0;
  // False: a value is NaN or infinite, and nothing else is meaningful.
  bool finite = true;
};

// `values` and `codes` are [rows][kTileColumns]; columns from `columns` on are padding, to be filled
// with zeros by the caller. Rows at least 1. `importance` has one factor per row, or is null for 1.
TileCodes CodeTile(const float* values, size_t rows, size_t columns, const BlockRule& rule,
                   const float* importance, uint8_t* codes);

// Codes by given parameters (in stored form): round(x / scale + zero point) on the rule's levels.
void CodeTileWith(const float* values, size_t rows, const BlockRule& rule, const float* scales,
                  const uint8_t* zero_points, uint8_t* codes);

}  // namespace modelpress
