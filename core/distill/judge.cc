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
#include "core/measure/comparison.h"
#include "core/measure/metric_rules.h"
#include "core/measure/numbers.h"
#include "core/measure/task_metrics.h"

namespace modelpress {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// Rows that are run at once, where they can be joined.
constexpr uint64_t kJoined = 64;

// What one model makes of each row.
struct Scores {
  Tally agree, right, right_difference, bits, bits_difference;
  // By output of the data: mean squares of the teacher's output, and of the difference.
  std::vector<Tally> noise;
  // Rows of `right` and so on are the labelled ones; which rows have labels.
  std::vector<bool> labelled;
  // Of labelled positions, by labelled row: label, class of the model, class of the teacher.
  struct Decision {
    uint32_t row;
    int32_t label, chosen, teacher;
  };
  std::vector<Decision> decisions;
};

using RunRows = std::function<absl::StatusOr<TensorMap>(uint64_t first, uint64_t count)>;

// Compares outputs with the stored ones of the teacher, row by row.
class Scorer {
 public:
  Scorer(const PackedRows& data, const TaskSettings& task, double threshold,
         const JobContext& context)
      : data_(data), task_(task), threshold_(threshold), context_(context) {}

  absl::StatusOr<Scores> Run(uint64_t first, uint64_t count, const RunRows& run) {
    result_.noise.resize(data_.targets.size());
    const uint64_t step = data_.exact ? 1 : kJoined;
    for (uint64_t at = first; at < first + count; at += step) {
      MP_RETURN_IF_ERROR(context_.cancellation->Check());
      const uint64_t rows = std::min(step, first + count - at);
      MP_ASSIGN_OR_RETURN(const TensorMap outputs, run(at, rows));
      for (size_t t = 0; t < data_.targets.size(); ++t) {
        MP_RETURN_IF_ERROR(AddOutput(t, outputs, at, rows));
      }
    }
    return std::move(result_);
  }

 private:
  absl::Status AddOutput(size_t t, const TensorMap& outputs, uint64_t first, uint64_t rows) {
    const PackedTarget& target = data_.targets[t];
    const Tensor teacher = RowsOf(target.teacher, data_.exact, first, rows);
    const auto found = outputs.find(target.output);
    if (found == outputs.end() || found->second.dims != teacher.dims ||
        found->second.type != DataType::kFloat) {
      return Error(ERROR_REASON_ARTIFACT_REJECTED,
                   FormatString("output '{}' of the student is missing or has another shape than "
                                "the original's",
                                target.output))
          .With("stage", "compare");
    }
    const std::span<const float> x = teacher.as<float>(), y = found->second.as<float>();
    const uint64_t per_row = x.size() / rows;
    for (uint64_t row = 0; row < rows; ++row) {
      double signal = 0, noise = 0;
      for (uint64_t i = row * per_row; i < (row + 1) * per_row; ++i) {
        const double difference = static_cast<double>(x[i]) - y[i];
        signal += static_cast<double>(x[i]) * x[i];
        noise += difference * difference;
      }
      result_.noise[t].Add(noise, signal);
    }
    if (target.output != task_.output) return absl::OkStatus();
    TensorMap teachers;
    teachers[target.output] = teacher;
    return AddClasses(target, teachers, outputs, first, rows);
  }

  absl::Status AddClasses(const PackedTarget& target, const TensorMap& teachers,
                          const TensorMap& outputs, uint64_t first, uint64_t rows) {
    MP_ASSIGN_OR_RETURN(const ClassReader original, ClassReader::Make(task_, teachers));
    MP_ASSIGN_OR_RETURN(const ClassReader model, ClassReader::Make(task_, outputs));
    std::optional<Tensor> labels;
    if (target.labels.has_value()) labels = RowsOf(*target.labels, data_.exact, first, rows);
    const uint64_t per_row = original.positions() / rows;
    const bool language = task_.task == Judging::TASK_LANGUAGE_MODEL;
    for (uint64_t row = 0; row < rows; ++row) {
      double agree = 0, right = 0, difference = 0, known = 0, bits = 0, teacher_bits = 0;
      for (uint64_t i = row * per_row; i < (row + 1) * per_row; ++i) {
        const int64_t a = original.Class(i, threshold_), b = model.Class(i, threshold_);
        agree += a == b;
        const int64_t label = labels.has_value() ? labels->as<int64_t>()[i] : -1;
        if (label < 0) continue;
        ++known;
        right += b == label;
        difference += static_cast<double>(b == label) - static_cast<double>(a == label);
        if (language) {
          bits += model.Bits(i, static_cast<uint64_t>(label));
          teacher_bits += original.Bits(i, static_cast<uint64_t>(label));
        } else {
          result_.decisions.push_back({static_cast<uint32_t>(result_.right.size()),
                                       static_cast<int32_t>(label), static_cast<int32_t>(b),
                                       static_cast<int32_t>(a)});
        }
      }
      result_.agree.Add(agree, static_cast<double>(per_row));
      result_.labelled.push_back(known > 0);
      if (known == 0) continue;
      result_.right.Add(right, known);
      result_.right_difference.Add(difference, known);
      result_.bits.Add(bits, known);
      result_.bits_difference.Add(bits - teacher_bits, known);
    }
    return absl::OkStatus();
  }

  const PackedRows& data_;
  const TaskSettings& task_;
  double threshold_;
  const JobContext& context_;
  Scores result_;
};

// Where the settings leave it open: as the teacher's scores say.
double ThresholdOf(const TaskSettings& task, const PackedRows& data) {
  if (task.threshold.has_value()) return *task.threshold;
  for (const PackedTarget& target : data.targets) {
    if (target.output != task.output) continue;
    const auto rows = static_cast<uint64_t>(target.teacher.dims[0]);
    const Tensor all = RowsOf(target.teacher, /*exact=*/false, 0, rows);
    const bool unit =
        std::ranges::all_of(all.as<float>(), [](float v) { return v >= 0 && v <= 1; });
    return unit ? 0.5 : 0;
  }
  return 0;
}

absl::StatusOr<RunRows> Runner(const Model& model, const PackedRows& data,
                               const JobContext& context) {
  MP_ASSIGN_OR_RETURN(
      std::shared_ptr<const Session> session,
      Session::Create(model, {.threads = static_cast<int>(context.pool->threads())}));
  return [session, &data](uint64_t first, uint64_t count) -> absl::StatusOr<TensorMap> {
    TensorMap inputs;
    for (const PackedArray& input : data.inputs) {
      inputs[input.name] = RowsOf(input, data.exact, first, count);
    }
    return session->Run(inputs);
  };
}

RunRows StoredTeacher(const PackedRows& data) {
  return [&data](uint64_t first, uint64_t count) -> absl::StatusOr<TensorMap> {
    TensorMap outputs;
    for (const PackedTarget& target : data.targets) {
      outputs[target.output] = RowsOf(target.teacher, data.exact, first, count);
    }
    return outputs;
  };
}

// The mean of the teacher's largest probability in each row; empty where the task has no classes with scores.
std::vector<double> SurenessOfRows(const HeldOutData& data) {
  std::vector<double> result;
  if (data.task.output.empty() || data.task.class_axis < 0) return result;
  for (const PackedTarget& target : data.targets) {
    if (target.output != data.task.output) continue;
    TaskSettings task = data.task;
    task.probabilities |= target.probabilities;
    for (uint64_t row = 0; row < data.rows; ++row) {
      TensorMap outputs;
      outputs[target.output] = RowsOf(target.teacher, data.exact, row, 1);
      const auto reader = ClassReader::Make(task, outputs);
      if (!reader.ok()) return {};
      double sure = 0;
      for (uint64_t i = 0; i < reader->positions(); ++i) {
        const int64_t chosen = reader->Class(i, 0);
        if (chosen >= 0) sure += std::exp2(-reader->Bits(i, static_cast<uint64_t>(chosen)));
      }
      result.push_back(sure / static_cast<double>(std::max<uint64_t>(1, reader->positions())));
    }
  }
  return result;
}

HeldOutJudge::Sureness Compare(const std::vector<double>& sure, const std::vector<bool>& labelled) {
  double count[2] = {}, sum[2] = {}, squares[2] = {};
  for (size_t row = 0; row < sure.size(); ++row) {
    ++count[labelled[row]];
    sum[labelled[row]] += sure[row];
    squares[labelled[row]] += sure[row] * sure[row];
  }
  if (count[0] < 10 || count[1] < 10) return {};
  const double mean[2] = {sum[0] / count[0], sum[1] / count[1]};
  double error = 0;
  for (const int k : {0, 1}) {
    error += std::max(0.0, squares[k] / count[k] - mean[k] * mean[k]) / count[k];
  }
  return {mean[1], mean[0], error > 0 ? (mean[0] - mean[1]) / std::sqrt(error) : 0};
}

// Kinds of rows, by how sure the teacher is: up to the 10 % of labelled rows of which it is least sure, to 25 %, to 50 %,
// and the others. Rows without labels may be easier than those with, as when the teacher was trained on them, but where it
// is equally sure they are much alike: of digits, a student agreed on 98.6 % of the teacher's own training images, which
// by kinds is 98.1 %, and on 98.1 % of new ones. All are of one kind where there are few.
std::vector<uint32_t> KindsOfRows(const std::vector<double>& sure,
                                  const std::vector<bool>& labelled) {
  constexpr double kShares[] = {0.1, 0.25, 0.5};
  constexpr size_t kLeastLabelled = 40, kLeastOfAKind = 10;
  std::vector<double> with, without;
  for (size_t row = 0; row < sure.size(); ++row) {
    (labelled[row] ? with : without).push_back(sure[row]);
  }
  std::vector<uint32_t> kinds(labelled.size(), 0);
  if (with.size() < kLeastLabelled) return kinds;
  std::ranges::sort(with);
  std::ranges::sort(without);
  std::vector<double> ends;
  size_t below = 0;
  for (const double share : kShares) {
    const double end = with[static_cast<size_t>(share * static_cast<double>(with.size()))];
    const auto here = static_cast<size_t>(std::ranges::lower_bound(without, end) - without.begin());
    if (here < below + kLeastOfAKind || without.size() < here + kLeastOfAKind) continue;
    ends.push_back(end);
    below = here;
  }
  for (size_t row = 0; row < sure.size(); ++row) {
    kinds[row] = static_cast<uint32_t>(std::ranges::upper_bound(ends, sure[row]) - ends.begin());
  }
  return kinds;
}

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
    return Scorer(data, data.task, threshold, context).Run(0, data.rows, run);
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

  // In dB, of one output or the worst of all.
  Interval Sqnr(const Scores& scores, const std::string& output) const {
    std::optional<Interval> worst;
    for (size_t t = 0; t < data.targets.size(); ++t) {
      if (!output.empty() && data.targets[t].output != output) continue;
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
    Interval share = PredictionPoweredShare(scores.agree, scores.agree, Tally(), z);
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
    const bool every = metric == "agreement" || metric == "sqnr_db";
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
  state->sureness = Compare(sure, teacher.labelled);
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

HeldOutJudge::Sureness HeldOutJudge::TeacherSureness() const { return state_->sureness; }

absl::StatusOr<Likeness> CompareWithTeacher(const Model& model, const PackedRows& rows,
                                            const TaskSettings& task, uint64_t first,
                                            uint64_t count, const JobContext& context) {
  MP_ASSIGN_OR_RETURN(const RunRows run, Runner(model, rows, context));
  MP_ASSIGN_OR_RETURN(const Scores scores,
                      Scorer(rows, task, ThresholdOf(task, rows), context).Run(first, count, run));
  Likeness result;
  if (scores.agree.size() > 0) result.agreement = scores.agree.Share();
  double signal = 0, noise = 0;
  for (const Tally& tally : scores.noise) {
    for (size_t i = 0; i < tally.size(); ++i) {
      noise += tally.sum[i];
      signal += tally.of[i];
    }
  }
  result.sqnr_db = SqnrDb(signal, noise);
  return result;
}

}  // namespace modelpress
