// Choosing the dead zone of a tensor from the distribution of its magnitudes.
#pragma once

#include <cstdint>
#include <span>

#include "absl/status/statusor.h"
#include "core/base/job_context.h"
#include "core/quant/quantize_tensor.h"

namespace modelpress {

// Minimizes the squared error
//
//   E(t) = sum over |w| <= t of w^2  +  sum over |w| > t of (w - scale round(w / scale))^2
//
// over thresholds t that leave at least a share of `min_sparsity` zeros. The candidates are the
// borders of 2048 equal bins of |w| over [0, max |w|]; of equal errors the larger threshold wins
// (more zeros for nothing). `parameters` are the scales of the channels (symmetric). Since rounding
// is optimal on its grid, without `min_sparsity` the answer is about half a step of the finest
// channel; with it, the smallest threshold that is sparse enough. Errors: cancellation.
absl::StatusOr<float> ChooseDeadZone(std::span<const std::byte> values, const ChannelLayout& layout,
                                     std::span<const AffineParameters> parameters,
                                     double min_sparsity, const JobContext& context);

}  // namespace modelpress
