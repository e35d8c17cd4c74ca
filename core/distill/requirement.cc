// Limits out of quality bounds: see requirement.h.
#include "core/distill/requirement.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_join.h"
#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/measure/metric_rules.h"

namespace modelpress {
namespace {

constexpr std::array<const char*, 7> kMetrics = {
    "accuracy", "f1", "f1_binary", "bits_per_token", "agreement", "sqnr_db", "cosine"};
constexpr double kDefaultDrop = 0.01, kDefaultAgreement = 0.98, kDefaultSqnr = 20;
constexpr double kDefaultCosine = 0.98;

bool IsPerOutput(std::string_view metric) { return metric == "sqnr_db" || metric == "cosine"; }

bool NeedsLabels(std::string_view metric) { return metric != "agreement" && !IsPerOutput(metric); }

bool IsEmbedding(const PackedTarget& target) { return target.loss == TrainTarget::LOSS_COSINE; }

void AddLimits(const QualityBound& bound, std::vector<Limit>* limits) {
  const auto add = [&](bool has, Limit::Kind kind, double limit) {
    if (has) limits->push_back({bound.metric(), kind, limit, bound.output()});
  };
  add(bound.has_min(), Limit::Kind::kMin, bound.min());
  add(bound.has_max(), Limit::Kind::kMax, bound.max());
  add(bound.has_max_drop(), Limit::Kind::kMaxDrop, bound.max_drop());
  add(bound.has_max_relative_drop(), Limit::Kind::kMaxRelativeDrop, bound.max_relative_drop());
}

absl::Status CheckMeasurable(const Limit& limit, const HeldOutData& data) {
  const auto missing = [&](std::string_view why, std::string_view remedy) {
    return Error(ERROR_REASON_DATA_MISSING,
                 FormatString("a student cannot be held against {}: {}", limit.metric, why))
        .With("metric", limit.metric)
        .With("needed", limit.metric)
        .Remedy(remedy);
  };
  if (NeedsLabels(limit.metric) && data.labelled == 0) {
    return missing("no held-out sample has a label of a class",
                   "give val/labels.npy, or bounds on agreement, which needs no labels");
  }
  if (limit.metric == "agreement" && data.task.output.empty()) {
    return missing("no output has classes",
                   "name the output and its class_axis under judging, or bound sqnr_db");
  }
  const bool language = data.task.task == Judging::TASK_LANGUAGE_MODEL;
  if (limit.metric == "bits_per_token" && !language) {
    return missing("the task is no language model", "say task: language_model under judging");
  }
  if ((limit.metric == "f1" || limit.metric == "f1_binary") && language) {
    return missing("it is not measured of language models", "bound accuracy or bits_per_token");
  }
  if (!IsPerOutput(limit.metric)) return absl::OkStatus();
  std::vector<std::string> names;
  for (const PackedTarget& target : data.targets) {
    if (limit.metric == "sqnr_db" || IsEmbedding(target)) names.push_back(target.output);
  }
  if (names.empty()) {
    return missing("no output is said to be an embedding",
                   "say so (training.outputs: [{kind: embedding}]), or bound sqnr_db");
  }
  if (limit.output.empty() || std::ranges::find(names, limit.output) != names.end()) {
    return absl::OkStatus();
  }
  return Error(ERROR_REASON_RECIPE_INVALID,
               FormatString("the bound on {} names output '{}', which is not compared by it",
                            limit.metric, limit.output))
      .With("field", "bounds.output")
      .Remedy(FormatString("the outputs are {}", absl::StrJoin(names, ", ")));
}

}  // namespace

std::string Describe(const Limit& limit) {
  const std::string of =
      limit.output.empty() ? limit.metric : FormatString("{} of '{}'", limit.metric, limit.output);
  switch (limit.kind) {
    case Limit::Kind::kMin:
      return FormatString("{} at least {}", of, limit.limit);
    case Limit::Kind::kMax:
      return FormatString("{} at most {}", of, limit.limit);
    case Limit::Kind::kMaxDrop:
      return FormatString("{} at most {} worse than the original's", of, limit.limit);
    case Limit::Kind::kMaxRelativeDrop:
      return FormatString("{} at most {:.6g} % worse than the original's", of, 100 * limit.limit);
  }
  return of;
}

absl::Status ValidateBounds(const google::protobuf::RepeatedPtrField<QualityBound>& bounds,
                            std::string_view field) {
  for (int i = 0; i < bounds.size(); ++i) {
    const QualityBound& bound = bounds[i];
    const std::string path = FormatString("{}[{}]", field, i);
    const auto refuse = [&](std::string_view name, std::string_view rule) {
      const std::string where = FormatString("{}{}", path, name);
      return Error(ERROR_REASON_RECIPE_INVALID, FormatString("{}: {}", where, rule))
          .With("field", where);
    };
    if (std::ranges::find(kMetrics, std::string_view(bound.metric())) == kMetrics.end()) {
      return refuse(".metric", FormatString("'{}' is not measured on held-out samples: {}",
                                            bound.metric(), absl::StrJoin(kMetrics, ", ")));
    }
    std::vector<Limit> limits;
    AddLimits(bound, &limits);
    if (limits.empty()) return refuse("", "needs one of min, max, max_drop or max_relative_drop");
    if (bound.max_drop() < 0 || bound.max_relative_drop() < 0) {
      return refuse("", "a drop must not be negative");
    }
    const MetricRule* rule = FindMetric(bound.metric());
    const bool drops = bound.has_max_drop() || bound.has_max_relative_drop();
    if (drops && (rule == nullptr || !rule->allows_drop)) {
      return refuse("", FormatString("{} cannot drop: use min", bound.metric()));
    }
    if (!bound.output().empty() && !(rule != nullptr && rule->per_output)) {
      return refuse(".output", FormatString("{} is not measured for each output", bound.metric()));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Limit>> ResolveLimits(const Distill& options, const Recipe* recipe,
                                                 const HeldOutData& data, bool size_is_told,
                                                 std::vector<std::string>* notes) {
  std::vector<Limit> limits;
  std::string from = "as its bounds say";
  for (const QualityBound& bound : options.bounds()) AddLimits(bound, &limits);
  if (limits.empty() && recipe != nullptr) {
    from = "as the recipe's quality says";
    const bool embedding = std::ranges::any_of(data.targets, IsEmbedding);
    for (const QualityBound& bound : recipe->quality()) {
      // Of outputs that are no embeddings, a cosine is for the gate alone.
      if (bound.metric() == "cosine" && !embedding) continue;
      if (std::ranges::find(kMetrics, std::string_view(bound.metric())) != kMetrics.end())
        AddLimits(bound, &limits);
    }
  }
  if (limits.empty() && size_is_told) {
    notes->push_back("no bound was given: the student is taken as it comes");
    return limits;
  }
  if (limits.empty()) {
    from = "by default, as no bound was given";
    if (data.labelled > 0 && data.task.task != Judging::TASK_NONE) {
      limits.push_back({"accuracy", Limit::Kind::kMaxDrop, kDefaultDrop, ""});
    } else if (!data.task.output.empty()) {
      limits.push_back({"agreement", Limit::Kind::kMin, kDefaultAgreement, ""});
    }
    if (std::ranges::any_of(data.targets, IsEmbedding)) {
      limits.push_back({"cosine", Limit::Kind::kMin, kDefaultCosine, ""});
    }
    if (limits.empty()) limits.push_back({"sqnr_db", Limit::Kind::kMin, kDefaultSqnr, ""});
  }
  std::vector<std::string> texts;
  for (const Limit& limit : limits) {
    MP_RETURN_IF_ERROR(CheckMeasurable(limit, data));
    texts.push_back(Describe(limit));
  }
  notes->push_back(
      FormatString("students must reach {} ({})", absl::StrJoin(texts, " and "), from));
  return limits;
}

}  // namespace modelpress
