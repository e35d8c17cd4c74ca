// Deciding quality bounds: see bounds.h.
#include "core/gate/bounds.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "absl/strings/str_join.h"
#include "core/base/format_string.h"
#include "core/base/status.h"
#include "modelpress/v1/report.pb.h"

namespace modelpress {
namespace {

struct Values {
  double original = 0;
  double measured = 0;
};

std::optional<Values> OfTask(const Judgement& judgement, std::string_view metric) {
  const auto both = [&](auto has, auto get) -> std::optional<Values> {
    if (!has(judgement.original()) || !has(judgement.artifact())) return std::nullopt;
    return Values{get(judgement.original()), get(judgement.artifact())};
  };
  using M = TaskMetrics;
  if (metric == "accuracy") {
    return both([](const M& m) { return m.has_accuracy(); },
                [](const M& m) { return m.accuracy(); });
  }
  if (metric == "f1") {
    return both([](const M& m) { return m.has_f1_macro(); },
                [](const M& m) { return m.f1_macro(); });
  }
  if (metric == "f1_binary") {
    return both([](const M& m) { return m.has_f1_binary(); },
                [](const M& m) { return m.f1_binary(); });
  }
  if (metric == "bits_per_token") {
    return both([](const M& m) { return m.has_bits_per_token(); },
                [](const M& m) { return m.bits_per_token(); });
  }
  return std::nullopt;
}

double OfOutput(const OutputComparison& row, std::string_view metric) {
  if (metric == "sqnr_db") return row.sqnr_db();
  if (metric == "cosine") return row.cosine();
  return row.max_abs_error();
}

// The output named, or the worst of all. A value that is not a number is the worst there is.
absl::StatusOr<std::optional<Values>> OfOutputs(const QualityBound& bound, const MetricRule& rule,
                                                const Report& report) {
  const auto& rows = report.judgement().outputs();
  if (rows.empty()) return std::optional<Values>();
  std::optional<double> worst;
  std::vector<std::string> names;
  for (const OutputComparison& row : rows) {
    names.push_back(row.output());
    if (!bound.output().empty() && bound.output() != row.output()) continue;
    const double value = OfOutput(row, rule.name);
    if (!worst.has_value() || std::isnan(value) ||
        (!std::isnan(*worst) && (rule.higher_is_better ? value < *worst : value > *worst))) {
      worst = value;
    }
  }
  if (!worst.has_value()) {
    return Error(ERROR_REASON_RECIPE_INVALID,
                 FormatString("the bound on {} names output '{}', which was not compared",
                              rule.name, bound.output()))
        .With("field", "quality.output")
        .Remedy(FormatString("the outputs are {}", absl::StrJoin(names, ", ")));
  }
  double original = 0;  // of the original against itself
  if (rule.name == "cosine") original = 1;
  if (rule.name == "sqnr_db") original = std::numeric_limits<double>::infinity();
  return Values{original, *worst};
}

absl::StatusOr<std::optional<Values>> Lookup(const QualityBound& bound, const MetricRule& rule,
                                             const Report& report) {
  if (rule.per_output) return OfOutputs(bound, rule, report);
  const Judgement& judgement = report.judgement();
  const double size = static_cast<double>(report.artifact().file_bytes());
  const double original_size = static_cast<double>(report.original().file_bytes());
  if (rule.name == "size_bytes") return Values{original_size, size};
  if (rule.name == "size_ratio") return Values{1, original_size > 0 ? size / original_size : 1};
  if (rule.name == "compressed_bytes") {
    if (report.artifact().zstd_bytes() == 0) return std::optional<Values>();
    return Values{static_cast<double>(report.original().zstd_bytes()),
                  static_cast<double>(report.artifact().zstd_bytes())};
  }
  if (rule.name == "agreement") {
    if (!judgement.has_agreement()) return std::optional<Values>();
    return Values{1, judgement.agreement()};
  }
  if (rule.name == "latency_ratio") {
    const Latency& latency = judgement.latency();
    if (!(latency.original_median_seconds() > 0)) return std::optional<Values>();
    return Values{1, latency.artifact_median_seconds() / latency.original_median_seconds()};
  }
  return OfTask(judgement, rule.name);
}

// How to get a metric that was not measured.
std::string_view MissingRemedy(std::string_view metric) {
  if (metric == "compressed_bytes") return "use the full gate";
  if (metric == "latency_ratio") return "use the full gate, with judging.latency on";
  if (metric == "agreement") return "name the output and its class_axis under judging";
  if (metric == "f1_binary") {
    return "give labels of two classes, or say task: binary under judging";
  }
  if (metric == "bits_per_token") {
    return "give labels.npy with one token for each position, and say task: language_model";
  }
  if (metric == "accuracy" || metric == "f1") {
    return "give labels.npy beside the inputs of the test split";
  }
  return "use the full gate";
}

}  // namespace

absl::StatusOr<BoundResult> DecideBound(const QualityBound& bound, const Report& report) {
  const MetricRule* rule = FindMetric(bound.metric());
  if (rule == nullptr) {
    return Error(ERROR_REASON_INTERNAL_BUG, FormatString("no metric '{}'", bound.metric()));
  }
  MP_ASSIGN_OR_RETURN(const std::optional<Values> values, Lookup(bound, *rule, report));
  if (!values.has_value()) {
    return Error(ERROR_REASON_DATA_MISSING,
                 FormatString("the recipe bounds {}, but it could not be measured", bound.metric()))
        .With("metric", bound.metric())
        .With("needed", bound.metric())
        .Remedy(MissingRemedy(bound.metric()));
  }
  BoundResult result;
  *result.mutable_bound() = bound;
  result.set_original(values->original);
  result.set_measured(values->measured);
  result.set_passed(true);

  // Every limit of the bound is held; `required` is the one that was missed by most, or the
  // tightest.
  std::vector<std::string> rules;
  double smallest_margin = 0;
  const auto hold = [&](bool at_least, double required, std::string words) {
    const double margin = at_least ? values->measured - required : required - values->measured;
    // Limits are decimal numbers: a drop of exactly 0.005 must not fail by its binary rounding.
    const double original = std::isfinite(values->original) ? std::abs(values->original) : 0;
    const double tolerance = 1e-12 * std::max(std::abs(required), original);
    const bool holds = margin >= -tolerance || values->measured == required;  // false for NaN
    if (rules.empty() || !(margin >= smallest_margin)) {
      smallest_margin = margin;
      result.set_required(required);
    }
    if (!holds) result.set_passed(false);
    rules.push_back(std::move(words));
  };
  const double sign = rule->higher_is_better ? -1 : 1;
  if (bound.has_min()) hold(true, bound.min(), FormatString("at least {}", bound.min()));
  if (bound.has_max()) hold(false, bound.max(), FormatString("at most {}", bound.max()));
  if (bound.has_max_drop()) {
    hold(rule->higher_is_better, values->original + sign * bound.max_drop(),
         FormatString("at most {} worse than the original's {:.6g}", bound.max_drop(),
                      values->original));
  }
  if (bound.has_max_relative_drop()) {
    hold(rule->higher_is_better,
         values->original + sign * bound.max_relative_drop() * std::abs(values->original),
         FormatString("at most {:.6g} % worse than the original's {:.6g}",
                      100 * bound.max_relative_drop(), values->original));
  }
  const std::string of = bound.output().empty() ? "" : FormatString(" of '{}'", bound.output());
  result.set_explanation(
      FormatString("{}{} is {:.6g}, {} be {}", bound.metric(), of, values->measured,
                   result.passed() ? "as it must" : "but it must", absl::StrJoin(rules, " and ")));
  return result;
}

}  // namespace modelpress
