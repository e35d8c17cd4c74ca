// SmoothQuant: difficulty moved from activations, where one channel a hundred times larger than the
// others takes all the codes, to weights, which can bear it.
//
//   y = x W = (x / s) (s W)        s_j = max|x_j|^alpha / max|W_j|^(1 - alpha)
//
// Source: Xiao et al. 2022, "SmoothQuant", equations 3 and 4. Layers that read the same value share
// one s (the largest |W_j| of all). 1 / s goes into constants of whatever makes x where that is
// possible, else into a Mul. Alpha is chosen for each value by the error it leaves on held-back
// samples; not smoothing at all is one of the choices.
#pragma once

#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/job_context.h"
#include "core/quant/smooth_targets.h"

namespace modelpress {

// Of a value, one entry for each channel; minimum and maximum include 0.
struct SmoothStatistics {
  std::vector<float> min, max;
  std::vector<double> mean_square;
};

struct Smoothing {
  // Empty: plain rounding is as good.
  std::vector<double> scales;
  double alpha = 0;
  // Predicted signal to noise of the readers' outputs on the held-back samples, dB, with int8
  // weights and activations in 8 bits of one range, and the same without smoothing.
  double sqnr_db = 0, plain_sqnr_db = 0;
};

// Tries alpha 0.3, 0.35, .. 0.9 (or only the given one) with scales and ranges from `fit`, and
// takes the one with the least error on `held_back`: activation rounding (step^2 / 12 for each
// element, and what lies outside the range) through s W, and the true rounding errors of s W under
// the energy of x / s, channels taken as independent. The choice must gain `least_gain_db`. Errors:
// cancellation, MODEL_MALFORMED. Deterministic.
absl::StatusOr<Smoothing> ChooseSmoothing(const Model& model, const SmoothTarget& target,
                                          const SmoothStatistics& fit,
                                          const SmoothStatistics& held_back, bool per_channel,
                                          std::optional<double> alpha, double least_gain_db,
                                          const JobContext& context);

// Multiplies the readers' weights by s, and its absorbers by 1 / s, or puts a Mul before the
// readers. New nodes stand at the end of their graph: SortTopologically afterwards.
absl::Status ApplySmoothing(Model& model, const SmoothTarget& target,
                            const std::vector<double>& scales, UniqueNames& names,
                            WeightArena& arena, const JobContext& context);

}  // namespace modelpress
