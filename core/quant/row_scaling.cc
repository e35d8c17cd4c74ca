// Factors for the rows of a weight; see row_scaling.h.
#include "core/quant/row_scaling.h"

#include <algorithm>
#include <cmath>

#include "core/base/status.h"
#include "core/quant/panel_kernels.h"

namespace modelpress {
namespace {

// Values in panels of 64 columns, spread over the weight, on which candidates are compared.
constexpr uint64_t kSampledValues = 1 << 16;
// Factors stay within this of each other.
constexpr double kLargestFactor = 4096;

// In eighths of the energy and quarters of the size.
struct Candidate {
  int energy_eighths, size_quarters;
};
constexpr Candidate kCandidates[] = {{0, 0}, {0, 2}, {0, 4}, {1, 0}, {1, 2}, {2, 0}, {2, 2},
                                     {3, 0}, {3, 1}, {4, 0}, {4, 4}, {0, 3}, {2, 1}, {1, 3}};

double Root(double x, int times) {
  for (int i = 0; i < times; ++i) x = std::sqrt(x);
  return x;
}

// x^(eighths / 8).
double Power(double x, int eighths) {
  double result = eighths & 8 ? x : 1;
  if (eighths & 4) result *= Root(x, 1);
  if (eighths & 2) result *= Root(x, 2);
  if (eighths & 1) result *= Root(x, 3);
  return result;
}

std::vector<float> FactorsOf(const Candidate& candidate, std::span<const float> energy,
                             std::span<const double> sizes) {
  std::vector<double> factors(sizes.size());
  double low = INFINITY, high = 0;
  for (size_t k = 0; k < sizes.size(); ++k) {
    const double e = energy.empty() ? 1 : energy[k];
    double factor = 1;
    // Rows that are 0, or never used, are left as they are.
    if (e > 0) factor *= Power(e, candidate.energy_eighths);
    if (sizes[k] > 0) factor /= Power(sizes[k], 2 * candidate.size_quarters);
    factors[k] = factor;
    low = std::min(low, factor);
    high = std::max(high, factor);
  }
  const double middle = std::sqrt(low) * std::sqrt(high);
  const double bound = std::sqrt(kLargestFactor);
  std::vector<float> result;
  for (const double factor : factors) {
    result.push_back(static_cast<float>(std::clamp(factor / middle, 1 / bound, bound)));
  }
  return result;
}

struct Sample {
  size_t columns = 0;
  std::vector<float> values;  // [rows][kTileColumns]
};

// Squared error of the sample's outputs.
double Loss(const Sample& sample, const BlockLayout& layout, const BlockRule& rule,
            std::span<const float> importance, std::span<const float> factors,
            std::span<const float> gram) {
  const uint64_t rows = layout.view.rows.count;
  const uint64_t height = std::min(layout.block_size, rows);
  std::vector<float> tile(height * kTileColumns);
  std::vector<uint8_t> codes(height * kTileColumns);
  std::vector<float> difference(gram.empty() ? 0 : rows * kTileColumns);
  double loss = 0;
  for (uint64_t first = 0; first < rows; first += layout.block_size) {
    const size_t count = std::min(layout.block_size, rows - first);
    for (size_t k = 0; k < count; ++k) {
      for (size_t c = 0; c < kTileColumns; ++c) {
        tile[k * kTileColumns + c] =
            sample.values[(first + k) * kTileColumns + c] * factors[first + k];
      }
    }
    const TileCodes coded =
        CodeTile(tile.data(), count, sample.columns, rule, importance.data() + first, codes.data());
    if (!coded.finite) return INFINITY;
    loss += coded.noise;
    if (gram.empty()) continue;
    float* block = difference.data() + first * kTileColumns;
    SubtractDecoded(tile.data(), codes.data(), coded, count, block);
    for (size_t k = 0; k < count; ++k) {
      for (size_t c = 0; c < kTileColumns; ++c) block[k * kTileColumns + c] /= factors[first + k];
    }
  }
  return gram.empty() ? loss : QuadraticForm(difference.data(), gram, rows, sample.columns);
}

}  // namespace

std::vector<float> ScaledImportance(std::span<const float> energy, std::span<const float> factors) {
  std::vector<float> importance;
  for (size_t k = 0; k < factors.size(); ++k) {
    importance.push_back((energy.empty() ? 1 : energy[k]) / (factors[k] * factors[k]));
  }
  return importance;
}

absl::StatusOr<std::vector<float>> ChooseRowFactors(std::span<const std::byte> values,
                                                    DataType type, const BlockLayout& layout,
                                                    const BlockRule& rule,
                                                    std::span<const float> energy,
                                                    std::span<const float> gram,
                                                    const JobContext& context) {
  const uint64_t rows = layout.view.rows.count, columns = layout.view.columns.count;
  const uint64_t panels = (columns + kTileColumns - 1) / kTileColumns;
  const uint64_t wanted = std::max<uint64_t>(1, kSampledValues / (rows * kTileColumns));
  std::vector<Sample> samples(std::min(panels, wanted));
  for (uint64_t i = 0; i < samples.size(); ++i) {
    const uint64_t column = panels * i / samples.size() * kTileColumns;
    samples[i].columns = std::min<uint64_t>(kTileColumns, columns - column);
    samples[i].values.resize(rows * kTileColumns);
    LoadTile(values, type, layout.view, column, samples[i].columns, 0, rows,
             samples[i].values.data());
  }
  std::vector<double> sizes(rows);
  for (uint64_t k = 0; k < rows; ++k) {
    double squares = 0, count = 0;
    for (const Sample& sample : samples) {
      for (size_t c = 0; c < sample.columns; ++c) {
        const double value = sample.values[k * kTileColumns + c];
        squares += value * value;
      }
      count += static_cast<double>(sample.columns);
    }
    sizes[k] = std::sqrt(squares / count);
  }
  constexpr size_t kCount = std::size(kCandidates);
  std::vector<double> losses(kCount * samples.size());
  MP_RETURN_IF_ERROR(context.pool->ParallelFor(losses.size(), [&](size_t i) -> absl::Status {
    MP_RETURN_IF_ERROR(context.cancellation->Check());
    const std::vector<float> factors = FactorsOf(kCandidates[i % kCount], energy, sizes);
    const std::vector<float> importance = ScaledImportance(energy, factors);
    losses[i] = Loss(samples[i / kCount], layout, rule, importance, factors, gram);
    return absl::OkStatus();
  }));
  size_t best = 0;
  double least = INFINITY;
  for (size_t candidate = 0; candidate < kCount; ++candidate) {
    double loss = 0;
    for (size_t s = 0; s < samples.size(); ++s) loss += losses[s * kCount + candidate];
    if (loss < least) {
      least = loss;
      best = candidate;
    }
  }
  if (best == 0) return std::vector<float>();
  return FactorsOf(kCandidates[best], energy, sizes);
}

}  // namespace modelpress
