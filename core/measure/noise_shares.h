// Which parts of a change cost how much, found by measuring groups of them.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"

namespace modelpress {

// The noise power (relative to the signal) of the model with these parts changed and no others.
using NoiseOf = std::function<absl::StatusOr<double>(const std::vector<size_t>& parts)>;

// An estimate of the noise that each part adds, with at most `measurements` calls of `noise`.
//
// Few enough parts are each measured alone. Otherwise all are measured together, and then, again and
// again, the group with the most noise is cut in two (parts are numbered in the order in which the
// model computes them) and both halves are measured: where a few parts make most of the noise, as is
// usual, these end alone after about log2(parts) steps each (adaptive group testing). What is left
// together shares its noise in proportion to `own`, each part's own error. Noise of parts adds up
// only roughly, which ranking them does not mind.
absl::StatusOr<std::vector<double>> NoiseShares(const std::vector<double>& own, int measurements,
                                                const NoiseOf& noise);

}  // namespace modelpress
