// Choosing the dead zone of a tensor from the distribution of its magnitudes.
#pragma once

#include <cstdint>
#include <span>

#include "absl/status/statusor.h"
#include "core/base/job_context.h"
#include "core/quant/quantize_tensor.h"

namespace modelpress {

// What the choice may cost and must reach.
struct DeadZoneGoal {
  // The weight's SQNR may fall this far below that of plain rounding (dB, >= 0).
  double max_sqnr_drop_db = 3;
  // At least this share of zeros (0 <= s < 1), even if it costs more.
  double min_sparsity = 0;
};

// With codes q = round(w / scale), the dead zone |w| <= t scale (t in steps, the same for every
// channel: an absolute threshold empties the channels of small scale first) has the squared error
//
//   E(t) = sum over |w| <= t scale of w^2  +  sum over the others of (w - scale q)^2
//
// E never falls as t grows: plain rounding already sets |w| <= scale / 2 to 0, which is the least
// error on this grid. Everything wider buys zeros with error. The answer is the larger of
//
//   the largest t with E(t) <= 10^(max_sqnr_drop_db / 10) E(0)   (at 0 dB: plain rounding)
//   the smallest t with at least a share of min_sparsity zeros   (the least error that has them)
//
// among the upper borders of 2048 equal bins of |w| / scale over [0, 127]. For weights whose
// density near 0 is flat at p per step, 3 dB buy t ~ (1 / (8 p))^(1/3): about 2 steps and 4 times
// the zeros of rounding where a step is 1/30 of the spread.
//
// Why a budget and not the error for each saved bit: at 8 bits, entropy-constrained quantization
// (Sullivan, "Efficient scalar quantization of exponential and Laplacian random variables", 1996)
// has its threshold at half a step too, to within a hundredth: for the size alone a coarser step is
// the better buy. Zeros are wanted for being zeros.
//
// `parameters` are the scales of the channels (symmetric). Errors: cancellation.
absl::StatusOr<double> ChooseDeadZone(std::span<const std::byte> values,
                                      const ChannelLayout& layout,
                                      std::span<const AffineParameters> parameters,
                                      const DeadZoneGoal& goal, const JobContext& context);

// Sets the int8 codes of the values in the dead zone to 0. Returns by how much that raises the
// squared error of `values`; it does not depend on threads. Errors: cancellation.
absl::StatusOr<double> ApplyDeadZone(std::span<const std::byte> values, const ChannelLayout& layout,
                                     std::span<const AffineParameters> parameters, double steps,
                                     std::span<std::byte> codes, const JobContext& context,
                                     const ByteProgress& progress);

}  // namespace modelpress
