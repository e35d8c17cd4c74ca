// A weight of any rank seen as columns that are quantized independently of each other.
//
// Along each column the values are cut into blocks that share a scale. Where the elements lie is
// said by two strides for either direction, so that every weight of every operator is one case.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

namespace modelpress {

// Element (column c, row k) is at ColumnOffset(c) + RowOffset(k), in elements.
struct MatrixView {
  struct Direction {
    uint64_t count = 0;
    // Entries i and i + 1 are `step` apart, except from one run of `run` entries to the next: runs
    // are `run_step` apart.
    uint64_t run = 1;
    uint64_t step = 1;
    uint64_t run_step = 0;

    uint64_t Offset(uint64_t i) const { return i / run * run_step + i % run * step; }
  };
  Direction columns, rows;

  uint64_t elements() const { return columns.count * rows.count; }
};

// Columns along `axis` of a row-major tensor (0 <= axis < rank): one for each combination of the
// other indices, in row-major order.
MatrixView ColumnsAlong(std::span<const int64_t> dims, size_t axis);
// One column for each index on `axis`, which holds everything that has this index.
MatrixView ColumnsOfChannels(std::span<const int64_t> dims, size_t axis);

// Blocks of `block_size` values in each column; the last one may be shorter.
struct BlockLayout {
  MatrixView view;
  uint64_t block_size = 0;

  uint64_t blocks() const { return (view.rows.count + block_size - 1) / block_size; }
  uint64_t scales() const { return view.columns.count * blocks(); }
  // Place of the scale of (column, block) in a tensor that has one entry per block where the weight
  // has values (ONNX operator DequantizeLinear), row-major.
  uint64_t ScaleIndex(uint64_t column, uint64_t block) const {
    const uint64_t run = view.columns.run;
    return (column / run * blocks() + block) * run + column % run;
  }
};

}  // namespace modelpress
