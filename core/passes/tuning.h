// The search behind the pass tune.
#pragma once

#include "core/passes/pass.h"

namespace modelpress {

// Tries the candidates of `options` on copies of `model`, applies the best of those that keep within
// the bounds, and fills trail, evaluations, changes, skips and notes of the report. Errors:
// QUALITY_BOUND_MISSED if none does; those of the calibration data; what a candidate fails with is
// its row of the trail.
absl::Status TuneModel(Model& model, const Tune& options, PassContext& context, PassReport* report);

}  // namespace modelpress
