// The list of metrics: see metric_rules.h.
#include "core/measure/metric_rules.h"

#include <algorithm>

namespace modelpress {

const std::vector<MetricRule>& MetricRules() {
  static const auto& rules = *new std::vector<MetricRule>{
      // name, higher is better, per output, without running, allows drop
      {"accuracy", true, false, false, true},       {"f1", true, false, false, true},
      {"f1_binary", true, false, false, true},      {"agreement", true, false, false, true},
      {"sqnr_db", true, true, false, false},        {"cosine", true, true, false, true},
      {"max_abs_error", false, true, false, false}, {"bits_per_token", false, false, false, true},
      {"size_bytes", false, false, true, true},     {"compressed_bytes", false, false, false, true},
      {"size_ratio", false, false, true, true},     {"latency_ratio", false, false, false, true},
  };
  return rules;
}

const MetricRule* FindMetric(std::string_view name) {
  const auto found = std::ranges::find(MetricRules(), name, &MetricRule::name);
  return found == MetricRules().end() ? nullptr : &*found;
}

std::vector<std::string> MetricNames() {
  std::vector<std::string> names;
  for (const MetricRule& rule : MetricRules()) names.emplace_back(rule.name);
  return names;
}

}  // namespace modelpress
