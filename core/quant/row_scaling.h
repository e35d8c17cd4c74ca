// Factors for the rows of a weight, taken back by the inputs: y = x W = (x / s) (s W).
//
// A block's scale follows its largest values, and every row of the block gets that step. Rows that
// matter more than others, because their inputs are large, or that are much smaller than their
// neighbours, are rounded better after a factor (AWQ: Lin et al., 2023):
//
//   s_k = energy_k^(a / 2) / size_k^b
//
// energy_k the mean square of input k, size_k the root mean square of row k, and (a, b) the pair of
// a small grid with the least output error on a sample of columns: by the second moments of the
// inputs where they are known, else as if inputs did not depend on each other.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "core/quant/encode_blocks.h"

namespace modelpress {

// One factor per row; empty where none of the grid is better than no factors at all. `energy`: per
// row, or empty for 1. `gram`: rows x rows, the mean of x x^T, or empty. Exponents are made of square
// roots: the same factors on every machine.
// Errors: cancellation. Memory: the sampled columns.
absl::StatusOr<std::vector<float>> ChooseRowFactors(std::span<const std::byte> values,
                                                    DataType type, const BlockLayout& layout,
                                                    const BlockRule& rule,
                                                    std::span<const float> energy,
                                                    std::span<const float> gram,
                                                    const JobContext& context);

// What a row's error counts in the scaled weight: energy / factor^2.
std::vector<float> ScaledImportance(std::span<const float> energy, std::span<const float> factors);

}  // namespace modelpress
