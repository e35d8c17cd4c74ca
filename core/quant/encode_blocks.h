// A whole tensor of floats to packed codes of few bits, in parallel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/job_context.h"
#include "core/model/tensor_type.h"
#include "core/quant/pack_codes.h"
#include "core/quant/quantize_tensor.h"

namespace modelpress {

struct EncodedBlocks {
  // False: a value is NaN or infinite, and nothing else here is meaningful.
  bool finite = true;
  ErrorSums sums;
  // What plain rounding would have taken.
  double plain_noise = 0;
};

// What is known of the rows of the view; either may be empty for 1.
struct RowFacts {
  // How much a row's error counts; sums count by it too.
  std::span<const float> importance;
  // What a row is multiplied with before it is coded.
  std::span<const float> factors;
};

// `values` holds layout.view.elements() numbers of `type` (float32, float16 or bfloat16) at any
// alignment. Without a writer only the sums are found. Tiles are independent, and
// sums are added in the order of the layout: the same for any number of threads. Memory: one block
// of 64 columns per thread. Errors: only cancellation.
absl::StatusOr<EncodedBlocks> EncodeBlocks(std::span<const std::byte> values, DataType type,
                                           const BlockLayout& layout, const BlockRule& rule,
                                           const RowFacts& facts, const CodeWriter* writer,
                                           const JobContext& context, const ByteProgress& progress);

// The values of rows [first_row, first_row + rows) of `count` <= kTileColumns columns as a tile
// [rows][kTileColumns], padded with zeros.
void LoadTile(std::span<const std::byte> values, DataType type, const MatrixView& view,
              uint64_t column, size_t count, uint64_t first_row, size_t rows, float* tile);
// Multiplies each row of a tile with its factor; none where `factors` is empty.
void ScaleRows(std::span<const float> factors, uint64_t first_row, size_t rows, float* tile);

}  // namespace modelpress
