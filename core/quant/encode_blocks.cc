// A whole tensor of floats to packed codes of few bits; see encode_blocks.h.
#include "core/quant/encode_blocks.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/base/status.h"
#include "core/quant/float16.h"

namespace modelpress {
namespace {

// Elements of one piece of work: 1 MiB of floats.
constexpr uint64_t kPieceElements = 256 * 1024;

float LoadFloat(const std::byte* bytes, uint64_t index) {
  float value;
  std::memcpy(&value, bytes + index * sizeof(float), sizeof(float));
  return value;
}
float LoadHalf(const std::byte* bytes, uint64_t index) {
  uint16_t value;
  std::memcpy(&value, bytes + index * sizeof(value), sizeof(value));
  return HalfToFloat(value);
}
float LoadBfloat16(const std::byte* bytes, uint64_t index) {
  uint16_t value;
  std::memcpy(&value, bytes + index * sizeof(value), sizeof(value));
  return std::bit_cast<float>(static_cast<uint32_t>(value) << 16);
}

template <float (*kLoad)(const std::byte*, uint64_t)>
void LoadElements(const std::byte* values, const MatrixView& view, uint64_t column, size_t count,
                  uint64_t first_row, size_t rows, float* tile) {
  for (size_t c = 0; c < count; ++c) {
    const uint64_t offset = view.columns.Offset(column + c);
    if (view.rows.step == 1 && first_row % view.rows.run + rows <= view.rows.run) {
      const uint64_t start = offset + view.rows.Offset(first_row);
      for (size_t k = 0; k < rows; ++k) tile[k * kTileColumns + c] = kLoad(values, start + k);
      continue;
    }
    for (size_t k = 0; k < rows; ++k) {
      tile[k * kTileColumns + c] = kLoad(values, offset + view.rows.Offset(first_row + k));
    }
  }
}

}  // namespace

void LoadTile(std::span<const std::byte> values, DataType type, const MatrixView& view,
              uint64_t column, size_t count, uint64_t first_row, size_t rows, float* tile) {
  if (count < kTileColumns) std::fill_n(tile, rows * kTileColumns, 0.0f);
  if (type == DataType::kFloat16) {
    LoadElements<LoadHalf>(values.data(), view, column, count, first_row, rows, tile);
  } else if (type == DataType::kBfloat16) {
    LoadElements<LoadBfloat16>(values.data(), view, column, count, first_row, rows, tile);
  } else if (view.columns.step == 1 && column % view.columns.run + count <= view.columns.run) {
    const uint64_t offset = view.columns.Offset(column);
    for (size_t k = 0; k < rows; ++k) {
      std::memcpy(tile + k * kTileColumns,
                  values.data() + (offset + view.rows.Offset(first_row + k)) * sizeof(float),
                  count * sizeof(float));
    }
  } else {
    LoadElements<LoadFloat>(values.data(), view, column, count, first_row, rows, tile);
  }
}

void ScaleRows(std::span<const float> factors, uint64_t first_row, size_t rows, float* tile) {
  if (factors.empty()) return;
  for (size_t k = 0; k < rows; ++k) {
    const float factor = factors[first_row + k];
    for (size_t c = 0; c < kTileColumns; ++c) tile[k * kTileColumns + c] *= factor;
  }
}

absl::StatusOr<EncodedBlocks> EncodeBlocks(std::span<const std::byte> values, DataType type,
                                           const BlockLayout& layout, const BlockRule& rule,
                                           const RowFacts& facts, const CodeWriter* writer,
                                           const JobContext& context,
                                           const ByteProgress& progress) {
  const MatrixView& view = layout.view;
  const uint64_t blocks = layout.blocks();
  const uint64_t panels = (view.columns.count + kTileColumns - 1) / kTileColumns;
  const uint64_t tiles = panels * blocks;
  const uint64_t tile_elements = std::min(layout.block_size, view.rows.count) * kTileColumns;
  const uint64_t tiles_per_piece = std::max<uint64_t>(1, kPieceElements / tile_elements);
  const uint64_t pieces = (tiles + tiles_per_piece - 1) / tiles_per_piece;
  // Memory is read in the order in which it lies.
  const bool panels_first = view.columns.step == 1 && view.columns.run >= kTileColumns;
  std::vector<EncodedBlocks> results(pieces);
  MP_RETURN_IF_ERROR(context.pool->ParallelFor(pieces, [&](size_t piece) -> absl::Status {
    MP_RETURN_IF_ERROR(context.cancellation->Check());
    std::vector<float> tile(tile_elements);
    std::vector<uint8_t> codes(tile_elements);
    EncodedBlocks& result = results[piece];
    uint64_t done = 0;
    const uint64_t end = std::min(tiles, (piece + 1) * tiles_per_piece);
    for (uint64_t i = piece * tiles_per_piece; i < end; ++i) {
      const uint64_t panel = panels_first ? i % panels : i / blocks;
      const uint64_t block = panels_first ? i / panels : i % blocks;
      const uint64_t column = panel * kTileColumns;
      const size_t count = std::min<uint64_t>(kTileColumns, view.columns.count - column);
      const uint64_t first_row = block * layout.block_size;
      const size_t rows = std::min(layout.block_size, view.rows.count - first_row);
      LoadTile(values, type, view, column, count, first_row, rows, tile.data());
      ScaleRows(facts.factors, first_row, rows, tile.data());
      const float* importance =
          facts.importance.empty() ? nullptr : facts.importance.data() + first_row;
      const TileCodes coded = CodeTile(tile.data(), rows, count, rule, importance, codes.data());
      if (!coded.finite) {
        result.finite = false;
        return absl::OkStatus();
      }
      if (writer != nullptr) writer->Store(column, count, block, codes.data(), coded);
      result.sums.Add({coded.signal, coded.noise});
      result.plain_noise += coded.plain_noise;
      done += rows * count;
    }
    if (progress) progress(done * BitsPerElement(type) / 8);
    return absl::OkStatus();
  }));
  EncodedBlocks total;
  for (const EncodedBlocks& result : results) {
    total.finite = total.finite && result.finite;
    total.sums.Add(result.sums);
    total.plain_noise += result.plain_noise;
  }
  return total;
}

}  // namespace modelpress
