// Judging on held-out samples: see judge.h.
#include "core/distill/judge.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <optional>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/distill/scores.h"
#include "core/measure/metric_rules.h"
#include "core/measure/numbers.h"
#include "core/measure/task_metrics.h"

namespace modelpress {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// F1 of counts by class: 2 TP / (predicted + labelled).
struct Confusion {
  std::map<int32_t, std::array<int64_t, 3>> classes;  // true positives, predicted, labelled

  void Add(int32_t label, int32_t chosen, int64_t count) {
    classes[label][2] += count;
    if (chosen >= 0) classes[chosen][1] += count;
    if (chosen == label) classes[label][0] += count;
  }
  static double F1(const std::array<int64_t, 3>& counts) {
    const int64_t both = counts[1] + counts[2];
    return both == 0 ? 0 : 2.0 * static_cast<double>(counts[0]) / static_cast<double>(both);
  }
  double Value(bool binary) const {
    if (binary) {
      const auto one = classes.find(1);
      return one == classes.end() ? 0 : F1(one->second);
    }
    double sum = 0;
    int occurring = 0;
    for (const auto& [label, counts] : classes) {
      if (counts[1] + counts[2] == 0) continue;
      sum += F1(counts);
      ++occurring;
    }
    return occurring == 0 ? 0 : sum / occurring;
  }
};

}  // namespace

struct HeldOutJudge::State {
  const HeldOutData& data;
  std::vector<Limit> limits;
  double z = 0, threshold = 0;
  const JobContext& context;
  double teacher_accuracy = 0, teacher_bits = 0;
  // By row; see KindsOfRows.
  std::vector<uint32_t> kinds = {};
  Sureness sureness = {};

  absl::StatusOr<Scores> Score(const RunRows& run) const {
    return ScoreRows(data, threshold, run, context);
  }

  Tally Agree(const Scores& scores, bool labelled) const {
    Tally part;
    for (size_t row = 0; row < scores.agree.size(); ++row) {
      if (scores.labelled[row] != labelled) continue;
      part.Add(scores.agree.sum[row], scores.agree.of[row], kinds.empty() ? 0 : kinds[row]);
    }
    return part;
  }

  Interval F1(const Scores& scores, bool binary, bool difference, double* teacher_value) const {
    Confusion model, teacher;
    std::vector<std::pair<size_t, size_t>> rows;  // decisions of each labelled row
    for (size_t i = 0; i < scores.decisions.size(); ++i) {
      const Scores::Decision& decision = scores.decisions[i];
      model.Add(decision.label, decision.chosen, 1);
      teacher.Add(decision.label, decision.teacher, 1);
      if (decision.row >= rows.size()) rows.resize(decision.row + 1, {i, i});
      rows[decision.row].second = i + 1;
    }
    const auto count = [&](size_t row, int64_t by) {
      for (size_t i = rows[row].first; i < rows[row].second; ++i) {
        const Scores::Decision& decision = scores.decisions[i];
        model.Add(decision.label, decision.chosen, by);
        teacher.Add(decision.label, decision.teacher, by);
      }
    };
    const auto value = [&] {
      return model.Value(binary) - (difference ? teacher.Value(binary) : 0);
    };
    *teacher_value = teacher.Value(binary);
    return JackknifeInterval(
        value(), rows.size(),
        [&](size_t row) {
          count(row, -1);
          const double without = value();
          count(row, 1);
          return without;
        },
        !difference, z);
  }

  bool IsEmbedding(size_t target) const {
    return data.targets[target].loss == TrainTarget::LOSS_COSINE;
  }
  bool HasEmbedding() const {
    return std::ranges::any_of(data.targets, [](const PackedTarget& target) {
      return target.loss == TrainTarget::LOSS_COSINE;
    });
  }

  // To the teacher's vectors, of one embedding or the worst of all.
  Interval Cosine(const Scores& scores, const std::string& output) const {
    std::optional<Interval> worst;
    for (size_t t = 0; t < data.targets.size(); ++t) {
      if (!IsEmbedding(t) || (!output.empty() && data.targets[t].output != output)) continue;
      Interval here = MeanInterval(scores.cosine[t], z);
      here.high = std::min(here.high, 1.0);
      if (!worst.has_value() || here.low < worst->low) worst = here;
    }
    return worst.value_or(Interval());
  }

  // In dB, of one output or the worst of all but embeddings, whose lengths say nothing; of these where there are no others.
  Interval Sqnr(const Scores& scores, const std::string& output) const {
    std::optional<Interval> worst;
    const bool others = !std::ranges::all_of(data.targets, [](const PackedTarget& target) {
      return target.loss == TrainTarget::LOSS_COSINE;
    });
    for (size_t t = 0; t < data.targets.size(); ++t) {
      if (output.empty() ? others && IsEmbedding(t) : data.targets[t].output != output) continue;
      const auto db = [](double ratio) {
        return ratio > 0 ? std::min(-10 * std::log10(ratio), 300.0) : 300.0;
      };
      const Interval ratio = MeanInterval(scores.noise[t], z);
      const Interval here = {db(ratio.value),
                             std::isfinite(ratio.high) ? db(ratio.high) : -kInfinity,
                             db(std::max(0.0, ratio.low))};
      if (!worst.has_value() || here.low < worst->low) worst = here;
    }
    return worst.value_or(Interval());
  }

  // The metric; of a drop the difference to the teacher's value, which is returned too.
  Interval Measure(const Scores& scores, std::string_view metric, bool drop,
                   const std::string& output, double* teacher_value) const {
    *teacher_value = 0;
    if (metric == "accuracy") {
      *teacher_value = teacher_accuracy;
      const Tally agree = Agree(scores, true), unlabelled = Agree(scores, false);
      return drop ? PredictionPoweredDifference(scores.right_difference, agree, unlabelled, z)
                  : PredictionPoweredShare(scores.right, agree, unlabelled, z);
    }
    if (metric == "bits_per_token") {
      *teacher_value = teacher_bits;
      return MeanInterval(drop ? scores.bits_difference : scores.bits, z);
    }
    if (metric == "f1" || metric == "f1_binary") {
      return F1(scores, metric == "f1_binary", drop, teacher_value);
    }
    if (metric == "sqnr_db") return Sqnr(scores, output);
    *teacher_value = 1;
    Interval share = metric == "cosine"
                         ? Cosine(scores, output)
                         : PredictionPoweredShare(scores.agree, scores.agree, Tally(), z);
    if (drop) share = {share.value - 1, share.low - 1, share.high - 1};
    return share;
  }

  v1::MetricEstimate Estimate(const Scores& scores, const std::string& metric,
                              const Interval& interval, double shift) const {
    v1::MetricEstimate row;
    row.set_metric(metric);
    row.set_value(interval.value + shift);
    row.set_low(interval.low + shift);
    row.set_high(interval.high + shift);
    const uint64_t all = data.rows, labelled = scores.right.size();
    const bool every = metric == "agreement" || metric == "sqnr_db" || metric == "cosine";
    row.set_labelled_samples(labelled);
    row.set_unlabelled_samples(every || metric == "accuracy" ? all - labelled : 0);
    return row;
  }

  Verdict Decide(const Scores& scores) const {
    Verdict verdict{.holds = true, .value_holds = true, .margin = kInfinity};
    for (size_t i = 0; i < limits.size(); ++i) {
      const Limit& limit = limits[i];
      const bool drop =
          limit.kind == Limit::Kind::kMaxDrop || limit.kind == Limit::Kind::kMaxRelativeDrop;
      const bool higher = FindMetric(limit.metric)->higher_is_better;
      double teacher = 0;
      const Interval interval = Measure(scores, limit.metric, drop, limit.output, &teacher);
      v1::MetricEstimate row = Estimate(scores, limit.metric, interval, drop ? teacher : 0);
      double required = limit.limit;
      bool at_least = limit.kind == Limit::Kind::kMin;
      if (drop) {
        const double size =
            limit.kind == Limit::Kind::kMaxDrop ? limit.limit : limit.limit * std::abs(teacher);
        required = teacher + (higher ? -size : size);
        at_least = higher;
      }
      row.set_required(required);
      // Limits are decimal numbers: one that is met exactly must not fail by its binary rounding.
      const double slack = 1e-12 * std::max(std::abs(required), std::abs(teacher));
      const double margin = (at_least ? row.low() - required : required - row.high()) + slack;
      const double width = std::max(row.high() - row.low(), 1e-12);
      const double relative = std::isfinite(width) ? margin / width : -kInfinity;
      verdict.margin = std::min(verdict.margin, std::isnan(relative) ? -kInfinity : relative);
      const double ahead = at_least ? row.value() - required : required - row.value();
      verdict.value_holds &= ahead + slack >= 0;
      if (!(margin >= 0)) {
        verdict.holds = false;
        if (verdict.miss.empty()) {
          verdict.missed = static_cast<int>(i);
          verdict.miss = FormatString("{} is {:.4f} ({:.4f} to {:.4f}), but must be {} {:.4f}",
                                      limit.metric, row.value(), row.low(), row.high(),
                                      at_least ? "at least" : "at most", required);
        }
      }
      verdict.estimates.push_back(std::move(row));
    }
    const auto inform = [&](const std::string& metric, bool known) {
      const bool there = std::ranges::any_of(
          verdict.estimates, [&](const auto& row) { return row.metric() == metric; });
      if (!known || there) return;
      double teacher = 0;
      const Interval interval = Measure(scores, metric, /*drop=*/false, "", &teacher);
      verdict.estimates.push_back(Estimate(scores, metric, interval, 0));
    };
    verdict.accuracy_of_labels =
        PredictionPoweredShare(scores.right, Agree(scores, true), Tally(), z);
    inform("accuracy", scores.right.size() > 0);
    inform("agreement", !data.task.output.empty());
    inform("cosine", HasEmbedding());
    // There is always something to tell.
    inform("sqnr_db", verdict.estimates.empty());
    return verdict;
  }
};

HeldOutJudge::HeldOutJudge(std::unique_ptr<State> state) : state_(std::move(state)) {}
HeldOutJudge::~HeldOutJudge() = default;

absl::StatusOr<std::unique_ptr<HeldOutJudge>> HeldOutJudge::Make(const HeldOutData& data,
                                                                 std::vector<Limit> limits,
                                                                 double confidence,
                                                                 const JobContext& context) {
  if (data.rows < 2) {
    return Error(
               ERROR_REASON_DATA_MISSING,
               FormatString("there are {} samples to judge students by, and at least 2 are needed",
                            data.rows))
        .With("needed", "unlabeled or val")
        .Remedy("give more samples");
  }
  auto state = std::make_unique<State>(State{.data = data,
                                             .limits = std::move(limits),
                                             .z = OneSidedZ(confidence),
                                             .threshold = ThresholdOf(data.task, data),
                                             .context = context});
  MP_ASSIGN_OR_RETURN(const Scores teacher, state->Score(StoredTeacher(data)));
  state->teacher_accuracy = teacher.right.Share();
  state->teacher_bits = teacher.bits.Share();
  const std::vector<double> sure = SurenessOfRows(data);
  state->kinds = KindsOfRows(sure, teacher.labelled);
  state->sureness = CompareSureness(sure, teacher.labelled);
  return std::unique_ptr<HeldOutJudge>(new HeldOutJudge(std::move(state)));
}

absl::StatusOr<Verdict> HeldOutJudge::Judge(const Model& model) const {
  MP_ASSIGN_OR_RETURN(const RunRows run, Runner(model, state_->data, state_->context));
  MP_ASSIGN_OR_RETURN(const Scores scores, state_->Score(run));
  return state_->Decide(scores);
}

absl::StatusOr<Verdict> HeldOutJudge::JudgeTeacher() const {
  MP_ASSIGN_OR_RETURN(const Scores scores, state_->Score(StoredTeacher(state_->data)));
  return state_->Decide(scores);
}

const Sureness& HeldOutJudge::TeacherSureness() const { return state_->sureness; }

}  // namespace modelpress
