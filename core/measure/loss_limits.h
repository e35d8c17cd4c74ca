// What a pass may cost, and the fewest changes to leave out so that it costs no more.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "core/measure/model_loss.h"

namespace modelpress::v1 {
class LossLimits;
}  // namespace modelpress::v1

namespace modelpress {

// Where a recipe does not say how many samples to judge candidates on.
inline constexpr uint64_t kJudgedSamples = 64;

// RECIPE_INVALID with the field's path, which begins with `field` ("quantize_dynamic.limits").
absl::Status ValidateLimits(const v1::LossLimits& limits, std::string_view field);

// With the defaults of LossLimits. A single sample never makes a default limit fail.
bool IsWithin(const ModelLoss& loss, const v1::LossLimits& limits);

// Less noise, and no fewer right decisions than chance explains; of about the same noise (half a dB),
// more right decisions: classes are what users look at, and noise alone does not tell of them.
bool IsBetter(const ModelLoss& candidate, const ModelLoss& best);

// "31.2 dB, agreement 0.9950".
std::string Describe(const ModelLoss& loss);

// Makes a meter of fewer samples when it is first needed.
using MakeLossMeter = std::function<absl::StatusOr<const LossMeter*>()>;

// A meter on the caller's calibration samples, as many as the limits say. Null where the limits are
// off, and with `note` saying so where there is no data and the model does not run on synthetic
// samples.
absl::StatusOr<std::unique_ptr<LossMeter>> MakeMeter(const Model& reference, const DataSet* data,
                                                     const v1::LossLimits& limits, uint64_t seed,
                                                     WeightArena& arena, const JobContext& context,
                                                     std::string* note);

// The loss of a candidate. One that does not load or run has lost everything, and `failure` (may be
// null) receives why; other errors are returned. Without agreement on synthetic samples: decisions
// about noise say nothing.
absl::StatusOr<ModelLoss> MeasureCandidate(const LossMeter& meter, const Model& candidate,
                                           std::string* failure);

// Changes lie in order, costliest first, and all of them together are not within limits: how many of
// the first must be left out? By bisection, as if less change were always less loss:
// `without(count)` measures the model without the first `count`. All of them where nothing less is
// enough. O(log entries) measurements.
absl::StatusOr<size_t> FewestLeftOut(
    size_t entries, const v1::LossLimits& limits,
    const std::function<absl::StatusOr<ModelLoss>(size_t count)>& without);

}  // namespace modelpress
