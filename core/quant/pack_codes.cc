// Codes of 4 or 8 bits to the two layouts that runtimes read; see pack_codes.h.
#include "core/quant/pack_codes.h"

#include <algorithm>
#include <atomic>
#include <cstring>

namespace modelpress {
namespace {

// Rows that are turned into a column's run at a time.
constexpr size_t kRunBuffer = 512;

}  // namespace

CodeSizes SizesOf(const BlockLayout& layout, int stored_bits, CodeLayout form) {
  if (form == CodeLayout::kMatMulNBits) {
    const uint64_t blocks = layout.blocks();
    return {layout.view.columns.count * blocks * layout.block_size / 2,
            layout.view.columns.count * ((blocks + 1) / 2)};
  }
  const auto bytes = [&](uint64_t elements) {
    return stored_bits == 8 ? elements : elements / 2 + elements % 2;
  };
  return {bytes(layout.view.elements()), bytes(layout.scales())};
}

CodeWriter::CodeWriter(const BlockLayout& layout, int stored_bits, CodeLayout form, int offset,
                       std::span<std::byte> codes, std::span<std::byte> zero_points,
                       std::span<std::byte> scales)
    : layout_(layout),
      stored_bits_(stored_bits),
      form_(form),
      offset_(offset),
      mask_(static_cast<uint8_t>((1 << stored_bits) - 1)),
      codes_(reinterpret_cast<uint8_t*>(codes.data())),
      zero_points_(zero_points.empty() ? nullptr : reinterpret_cast<uint8_t*>(zero_points.data())),
      scales_(scales.data()) {}

void CodeWriter::StoreElement(uint8_t* bytes, uint64_t index, uint8_t stored) const {
  if (stored_bits_ == 8) {
    bytes[index] = stored;
    return;
  }
  const auto value = static_cast<uint8_t>(index % 2 == 0 ? stored : stored << 4);
  // The other half may belong to a tile of another thread.
  std::atomic_ref<uint8_t>(bytes[index / 2]).fetch_or(value, std::memory_order_relaxed);
}

void CodeWriter::StoreRun(uint64_t index, const uint8_t* codes, size_t count) const {
  if (stored_bits_ == 8) {
    for (size_t i = 0; i < count; ++i) codes_[index + i] = Stored(codes[i]);
    return;
  }
  size_t i = 0;
  if (index % 2 == 1 && count > 0) StoreElement(codes_, index, Stored(codes[i++]));
  uint8_t* bytes = codes_ + (index + i) / 2;
  // Eight codes, one to a byte, at a time: none borrows from its neighbour.
  const uint64_t offsets = static_cast<uint64_t>(offset_ & 15) * 0x0101010101010101;
  for (; i + 8 <= count; i += 8, bytes += 4) {
    uint64_t eight;
    std::memcpy(&eight, codes + i, sizeof(eight));
    eight = ((eight | 0x1010101010101010) - offsets) & 0x0f0f0f0f0f0f0f0f;
    eight = (eight | eight >> 4) & 0x00ff00ff00ff00ff;
    eight = (eight | eight >> 8) & 0x0000ffff0000ffff;
    const auto packed = static_cast<uint32_t>(eight | eight >> 16);
    std::memcpy(bytes, &packed, sizeof(packed));
  }
  for (; i + 2 <= count; i += 2) {
    *bytes++ = static_cast<uint8_t>(Stored(codes[i]) | Stored(codes[i + 1]) << 4);
  }
  if (i < count) StoreElement(codes_, index + i, Stored(codes[i]));
}

void CodeWriter::StoreTensor(uint64_t column, size_t count, uint64_t first_row, size_t rows,
                             const uint8_t* codes) const {
  const auto& columns = layout_.view.columns;
  const auto& down = layout_.view.rows;
  if (columns.step == 1 && columns.run > 1) {
    for (size_t k = 0; k < rows; ++k) {
      const uint64_t row_offset = down.Offset(first_row + k);
      for (size_t c = 0; c < count;) {
        const size_t length =
            std::min<uint64_t>(count - c, columns.run - (column + c) % columns.run);
        StoreRun(columns.Offset(column + c) + row_offset, codes + k * kTileColumns + c, length);
        c += length;
      }
    }
    return;
  }
  uint8_t run[kRunBuffer];
  for (size_t c = 0; c < count; ++c) {
    const uint64_t column_offset = columns.Offset(column + c);
    for (size_t k = 0; k < rows;) {
      const uint64_t row = first_row + k;
      size_t length = std::min(rows - k, kRunBuffer);
      length = down.step == 1 ? std::min<uint64_t>(length, down.run - row % down.run) : 1;
      for (size_t i = 0; i < length; ++i) run[i] = codes[(k + i) * kTileColumns + c];
      StoreRun(column_offset + down.Offset(row), run, length);
      k += length;
    }
  }
}

void CodeWriter::StoreMatMulNBits(uint64_t column, size_t count, uint64_t block, size_t rows,
                                  const uint8_t* codes, const TileCodes& parameters) const {
  const uint64_t block_size = layout_.block_size;
  for (size_t c = 0; c < count; ++c) {
    const uint8_t tail = Stored(parameters.zero_points[c]);
    uint8_t* bytes = codes_ + ((column + c) * layout_.blocks() + block) * block_size / 2;
    const auto at = [&](size_t k) { return k < rows ? Stored(codes[k * kTileColumns + c]) : tail; };
    for (size_t k = 0; k < block_size; k += 2) {
      *bytes++ = static_cast<uint8_t>(at(k) | at(k + 1) << 4);
    }
  }
}

void CodeWriter::Store(uint64_t column, size_t count, uint64_t block, const uint8_t* codes,
                       const TileCodes& parameters) const {
  const uint64_t first_row = block * layout_.block_size;
  const size_t rows = std::min(layout_.block_size, layout_.view.rows.count - first_row);
  if (form_ == CodeLayout::kMatMulNBits) {
    StoreMatMulNBits(column, count, block, rows, codes, parameters);
  } else {
    StoreTensor(column, count, first_row, rows, codes);
  }
  const uint64_t blocks = layout_.blocks();
  for (size_t c = 0; c < count; ++c) {
    const bool per_row = form_ == CodeLayout::kMatMulNBits;
    const uint64_t scale =
        per_row ? (column + c) * blocks + block : layout_.ScaleIndex(column + c, block);
    std::memcpy(scales_ + scale * sizeof(float), &parameters.scales[c], sizeof(float));
    if (zero_points_ == nullptr) continue;
    const uint64_t zero = per_row ? (column + c) * ((blocks + 1) / 2 * 2) + block : scale;
    StoreElement(zero_points_, zero, Stored(parameters.zero_points[c]));
  }
}

}  // namespace modelpress
