// Quality bounds: whether a finished report meets a bound.
#pragma once

#include "absl/status/statusor.h"
#include "core/base/status.h"
#include "core/measure/metric_rules.h"

namespace modelpress::v1 {
class BoundResult;
class QualityBound;
class Report;
}  // namespace modelpress::v1

namespace modelpress {

// Decides a bound (already valid: see ValidateRecipe) on what the report measured. DATA_MISSING if
// the metric was not measured (accuracy without labels), RECIPE_INVALID if it names an output that
// was not compared.
absl::StatusOr<BoundResult> DecideBound(const QualityBound& bound, const Report& report);

}  // namespace modelpress
