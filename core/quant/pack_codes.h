// Codes of 4 or 8 bits to the two layouts that runtimes read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/quant/matrix_view.h"
#include "core/quant/tile_kernels.h"

namespace modelpress {

enum class CodeLayout {
  // A tensor of the weight's shape; 4-bit elements two to a byte, the first in the low half, over
  // the whole tensor (ONNX, TensorProto). Scales and zero points likewise, one per block.
  kTensor,
  // com.microsoft.MatMulNBits: codes [N, blocks, block_size / 2], scales [N, blocks], zero points
  // [N, ceil(blocks / 2)] with each row padded to whole bytes. What is missing in the last block of a column holds its
  // zero point: it decodes to 0. Only for matrices, 4 bits.
  kMatMulNBits,
};

// How many bytes a weight's codes take, and its zero points (whether stored or not).
struct CodeSizes {
  uint64_t codes = 0, zero_points = 0;
};
CodeSizes SizesOf(const BlockLayout& layout, int stored_bits, CodeLayout form);

// Where the codes of one weight go. Memory must be zero before the first tile; tiles may be stored
// by several threads at once, each tile once.
class CodeWriter {
 public:
  // A stored code is (code - offset) modulo 2^stored_bits: 8 or 128 give signed types. Zero points
  // are left out where `zero_points` is empty. `scales` may have any alignment. Sizes as SizesOf says.
  CodeWriter(const BlockLayout& layout, int stored_bits, CodeLayout form, int offset,
             std::span<std::byte> codes, std::span<std::byte> zero_points,
             std::span<std::byte> scales);

  // `count` columns from `column` on, of block `block`; `codes` is [rows of the block][kTileColumns].
  void Store(uint64_t column, size_t count, uint64_t block, const uint8_t* codes,
             const TileCodes& parameters) const;

 private:
  uint8_t Stored(int code) const { return static_cast<uint8_t>(code - offset_) & mask_; }
  void StoreTensor(uint64_t column, size_t count, uint64_t first_row, size_t rows,
                   const uint8_t* codes) const;
  void StoreMatMulNBits(uint64_t column, size_t count, uint64_t block, size_t rows,
                        const uint8_t* codes, const TileCodes& parameters) const;
  // One element of a packed tensor; others share its byte.
  void StoreElement(uint8_t* bytes, uint64_t index, uint8_t stored) const;
  void StoreRun(uint64_t index, const uint8_t* codes, size_t count) const;

  BlockLayout layout_;
  int stored_bits_;
  CodeLayout form_;
  int offset_;
  uint8_t mask_;
  uint8_t* codes_;
  uint8_t* zero_points_;  // null: left out
  std::byte* scales_;
};

}  // namespace modelpress
