// Quality bounds: which metrics there are, which direction is better, and whether a finished report
// meets a bound.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/status.h"

namespace modelpress::v1 {
class BoundResult;
class QualityBound;
class Report;
}  // namespace modelpress::v1

namespace modelpress {

struct MetricRule {
  std::string_view name;
  bool higher_is_better;
  // One value for each output: `output` of a bound chooses, or the worst counts.
  bool per_output;
  // Known with the structure gate too, which runs nothing.
  bool without_running;
  // The original has a value of its own, so that a drop means something (the SQNR of a model
  // against itself does not).
  bool allows_drop;
};

// Every metric a bound may name.
const std::vector<MetricRule>& MetricRules();
// Null if there is none of this name.
const MetricRule* FindMetric(std::string_view name);
std::vector<std::string> MetricNames();

// Decides a bound (already valid: see ValidateRecipe) on what the report measured. DATA_MISSING if
// the metric was not measured (accuracy without labels), RECIPE_INVALID if it names an output that
// was not compared.
absl::StatusOr<BoundResult> DecideBound(const QualityBound& bound, const Report& report);

}  // namespace modelpress
