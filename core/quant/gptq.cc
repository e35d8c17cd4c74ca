// GPTQ; see gptq.h.
#include "core/quant/gptq.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/base/status.h"
#include "core/quant/cholesky.h"
#include "core/quant/panel_kernels.h"

namespace modelpress {
namespace {

// Rows of the factor that one piece of work copies.
constexpr uint64_t kRowsPerPiece = 64;

// Blocks of more energy first, and so within each block; equal ones as they come.
std::vector<uint32_t> OrderOf(std::span<const float> energy, uint64_t block_size) {
  const uint64_t rows = energy.size();
  const uint64_t blocks = (rows + block_size - 1) / block_size;
  std::vector<double> sums(blocks);
  for (uint64_t k = 0; k < rows; ++k) sums[k / block_size] += energy[k];
  std::vector<uint32_t> block_order(blocks), order;
  std::iota(block_order.begin(), block_order.end(), 0);
  std::ranges::stable_sort(block_order, std::greater(), [&](uint32_t b) { return sums[b]; });
  for (const uint32_t block : block_order) {
    const auto begin = static_cast<ptrdiff_t>(order.size());
    for (uint64_t k = block * block_size; k < std::min(rows, (block + 1) * block_size); ++k) {
      order.push_back(static_cast<uint32_t>(k));
    }
    std::stable_sort(order.begin() + begin, order.end(),
                     [&](uint32_t a, uint32_t b) { return energy[a] > energy[b]; });
  }
  return order;
}

struct Panel {
  explicit Panel(uint64_t rows) : values(rows * kTileColumns) {}
  float* row(uint64_t k) { return values.data() + k * kTileColumns; }
  const float* row(uint64_t k) const { return values.data() + k * kTileColumns; }

  std::vector<float> values;
};

ErrorSums SumsOf(const Panel& values, const Panel& difference, uint64_t rows, size_t columns) {
  ErrorSums sums;
  for (uint64_t k = 0; k < rows; ++k) {
    for (size_t c = 0; c < columns; ++c) {
      const double x = values.row(k)[c], d = difference.row(k)[c];
      sums.signal += x * x;
      sums.noise += d * d;
    }
  }
  return sums;
}

// Works through all panels of 64 columns. code(values, difference, column, count, codes) writes the
// codes and fills in the difference that they leave.
template <typename Code>
absl::StatusOr<JudgedBlocks> ForEachPanel(std::span<const std::byte> values, DataType type,
                                          const BlockLayout& layout, const BlockRule& rule,
                                          std::span<const float> judge, const JobContext& context,
                                          const ByteProgress& progress, const Code& code) {
  const uint64_t rows = layout.view.rows.count;
  if (judge.size() != rows * rows) {
    return Error(ERROR_REASON_INTERNAL_BUG, "the Gram is not of the weight's size");
  }
  const uint64_t panels = (layout.view.columns.count + kTileColumns - 1) / kTileColumns;
  std::vector<JudgedBlocks> results(panels);
  MP_RETURN_IF_ERROR(context.pool->ParallelFor(panels, [&](size_t panel) -> absl::Status {
    MP_RETURN_IF_ERROR(context.cancellation->Check());
    const uint64_t column = panel * kTileColumns;
    const size_t count = std::min<uint64_t>(kTileColumns, layout.view.columns.count - column);
    JudgedBlocks& result = results[panel];
    Panel weights(rows), difference(rows);
    std::vector<uint8_t> codes(std::min(layout.block_size, rows) * kTileColumns);
    LoadTile(values, type, layout.view, column, count, 0, rows, weights.values.data());
    // Plain rounding first: it also tells whether all values are finite.
    const BlockRule plain{rule.bits, rule.symmetric, BlockMethod::kRoundToNearest};
    for (uint64_t first = 0; first < rows; first += layout.block_size) {
      const size_t height = std::min(layout.block_size, rows - first);
      const TileCodes coded =
          CodeTile(weights.row(first), height, count, plain, nullptr, codes.data());
      if (!coded.finite) {
        result.blocks.finite = false;
        return absl::OkStatus();
      }
      SubtractDecoded(weights.row(first), codes.data(), coded, height, difference.row(first));
    }
    result.blocks.plain_noise = SumsOf(weights, difference, rows, count).noise;
    result.plain_error = QuadraticForm(difference.row(0), judge, rows, count);
    result.output = QuadraticForm(weights.row(0), judge, rows, count);
    code(weights, difference, column, count, codes.data());
    result.blocks.sums = SumsOf(weights, difference, rows, count);
    result.error = QuadraticForm(difference.row(0), judge, rows, count);
    if (progress) progress(rows * count * BitsPerElement(type) / 8);
    return absl::OkStatus();
  }));
  JudgedBlocks total;
  for (const JudgedBlocks& result : results) {
    total.blocks.finite = total.blocks.finite && result.blocks.finite;
    total.blocks.sums.Add(result.blocks.sums);
    total.blocks.plain_noise += result.blocks.plain_noise;
    total.error += result.error;
    total.plain_error += result.plain_error;
    total.output += result.output;
  }
  return total;
}

}  // namespace

absl::StatusOr<std::optional<GptqFactor>> FactorGram(std::span<const float> gram, uint64_t rows,
                                                     uint64_t block_size, double damping,
                                                     const JobContext& context) {
  if (gram.size() != rows * rows) {
    return Error(ERROR_REASON_INTERNAL_BUG, "the Gram is not square");
  }
  GptqFactor factor;
  factor.block_size = block_size;
  std::vector<float> energy(rows);
  double mean = 0;
  for (uint64_t k = 0; k < rows; ++k) {
    energy[k] = gram[k * rows + k];
    mean += energy[k];
  }
  mean /= static_cast<double>(rows);
  if (!(mean > 0) || !std::isfinite(mean)) return std::nullopt;
  factor.order = OrderOf(energy, block_size);
  // H = F^T D F with F lower triangular: an ordinary Cholesky factorization of H with rows and
  // columns in reverse.
  std::vector<double> matrix(rows * rows);
  const auto row_of = [&](uint64_t reversed) { return factor.order[rows - 1 - reversed]; };
  const uint64_t pieces = (rows + kRowsPerPiece - 1) / kRowsPerPiece;
  const auto for_rows = [&](const auto& body) {
    return context.pool->ParallelFor(pieces, [&](size_t piece) -> absl::Status {
      MP_RETURN_IF_ERROR(context.cancellation->Check());
      for (uint64_t i = piece * kRowsPerPiece; i < std::min(rows, (piece + 1) * kRowsPerPiece);
           ++i) {
        body(i);
      }
      return absl::OkStatus();
    });
  };
  MP_RETURN_IF_ERROR(for_rows([&](uint64_t i) {
    const float* from = gram.data() + row_of(i) * rows;
    for (uint64_t j = 0; j <= i; ++j) matrix[i * rows + j] = from[row_of(j)];
    matrix[i * rows + i] += damping * mean;
  }));
  MP_ASSIGN_OR_RETURN(const bool positive, Cholesky(matrix, rows, context));
  if (!positive) return std::nullopt;
  factor.feedback.resize(rows * rows);
  MP_RETURN_IF_ERROR(for_rows([&](uint64_t i) {
    const uint64_t column = rows - 1 - i;
    const double diagonal = matrix[column * rows + column];
    for (uint64_t j = 0; j < i; ++j) {
      factor.feedback[i * rows + j] =
          static_cast<float>(matrix[(rows - 1 - j) * rows + column] / diagonal);
    }
  }));
  return factor;
}

absl::StatusOr<JudgedBlocks> EncodeGptq(std::span<const std::byte> values, DataType type,
                                        const BlockLayout& layout, const BlockRule& rule,
                                        const GptqFactor& factor, std::span<const float> judge,
                                        const CodeWriter& writer, const JobContext& context,
                                        const ByteProgress& progress) {
  const uint64_t rows = layout.view.rows.count;
  if (factor.order.size() != rows || factor.block_size != layout.block_size) {
    return Error(ERROR_REASON_INTERNAL_BUG, "the factor is not of the weight's size");
  }
  const auto code = [&](const Panel& weights, Panel& difference, uint64_t column, size_t count,
                        uint8_t* codes) {
    // Errors in the order of rounding, and what a block's rows have become through those before.
    Panel errors(rows), block(std::min(layout.block_size, rows)), tile(block);
    for (uint64_t first = 0; first < rows;) {
      const uint64_t index = factor.order[first] / layout.block_size;
      const uint64_t first_row = index * layout.block_size;
      const size_t height = std::min(layout.block_size, rows - first_row);
      // `block` gets the errors of blocks before; the tile also those that its own rows would pass
      // on if they were not rounded.
      const float* feedback = factor.feedback.data() + first * rows;
      for (size_t i = 0; i < height; ++i) {
        std::copy_n(weights.row(factor.order[first + i]), kTileColumns, block.row(i));
      }
      AddProduct(errors.row(0), feedback, rows, height, first, block.row(0));
      for (size_t i = 0; i < height; ++i) {
        const uint64_t row = factor.order[first + i];
        float* updated = tile.row(row - first_row);
        std::copy_n(block.row(i), kTileColumns, updated);
        AddProduct(errors.row(first), feedback + i * rows + first, rows, 1, i, updated);
        float* error = errors.row(first + i);
        for (size_t c = 0; c < kTileColumns; ++c) error[c] = weights.row(row)[c] - updated[c];
      }
      const TileCodes parameters = CodeTile(tile.row(0), height, count, rule, nullptr, codes);
      for (size_t i = 0; i < height; ++i) {
        const uint64_t row = factor.order[first + i];
        float* updated = block.row(i);
        AddProduct(errors.row(first), feedback + i * rows + first, rows, 1, i, updated);
        uint8_t* row_codes = codes + (row - first_row) * kTileColumns;
        CodeTileWith(updated, 1, rule, parameters.scales, parameters.zero_points, row_codes);
        SubtractDecoded(weights.row(row), row_codes, parameters, 1, errors.row(first + i));
        std::copy_n(errors.row(first + i), kTileColumns, difference.row(row));
      }
      writer.Store(column, count, index, codes, parameters);
      first += height;
    }
  };
  return ForEachPanel(values, type, layout, rule, judge, context, progress, code);
}

absl::StatusOr<JudgedBlocks> EncodeJudged(std::span<const std::byte> values, DataType type,
                                          const BlockLayout& layout, const BlockRule& rule,
                                          const RowFacts& facts, std::span<const float> judge,
                                          const CodeWriter& writer, const JobContext& context,
                                          const ByteProgress& progress) {
  const uint64_t rows = layout.view.rows.count;
  // Back to the weight without factors.
  std::vector<float> inverse;
  for (const float factor : facts.factors) inverse.push_back(1 / factor);
  const auto code = [&](const Panel& weights, Panel& difference, uint64_t column, size_t count,
                        uint8_t* codes) {
    Panel tile(std::min(layout.block_size, rows));
    for (uint64_t first = 0; first < rows; first += layout.block_size) {
      const size_t height = std::min(layout.block_size, rows - first);
      std::copy_n(weights.row(first), height * kTileColumns, tile.row(0));
      ScaleRows(facts.factors, first, height, tile.row(0));
      const float* importance =
          facts.importance.empty() ? nullptr : facts.importance.data() + first;
      const TileCodes coded = CodeTile(tile.row(0), height, count, rule, importance, codes);
      SubtractDecoded(tile.row(0), codes, coded, height, difference.row(first));
      ScaleRows(inverse, first, height, difference.row(first));
      writer.Store(column, count, first / layout.block_size, codes, coded);
    }
  };
  return ForEachPanel(values, type, layout, rule, judge, context, progress, code);
}

}  // namespace modelpress
