// Which metrics there are and which direction is better.
#pragma once

#include <string>
#include <string_view>
#include <vector>

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

}  // namespace modelpress
