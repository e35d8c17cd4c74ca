// Metrics from scores and labels: see task_metrics.h. Deciding what is judged is in
// resolve_task.cc.
#include "core/measure/task_metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/measure/numbers.h"

namespace modelpress {
namespace {

// The two thresholds that an open setting chooses between: probabilities and raw scores.
constexpr double kThresholds[2] = {0.5, 0};

bool IsBinary(const TaskSettings& settings) { return settings.class_axis < 0; }

double ThresholdFor(const TaskSettings& settings, bool unit_interval) {
  return settings.threshold.value_or(unit_interval ? kThresholds[0] : kThresholds[1]);
}

}  // namespace

absl::StatusOr<ClassReader> ClassReader::Make(const TaskSettings& settings,
                                              const TensorMap& outputs) {
  const auto found = outputs.find(settings.output);
  if (found == outputs.end()) {
    return Error(ERROR_REASON_RUNTIME_FAILED,
                 FormatString("output '{}' is missing", settings.output));
  }
  const Tensor& tensor = found->second;
  ClassReader reader;
  reader.settings_ = &settings;
  reader.tensor_ = &tensor;
  if (IsBinary(settings)) {
    reader.classes_ = 2;
    reader.positions_ = tensor.element_count();
    return reader;
  }
  if (static_cast<size_t>(settings.class_axis) >= tensor.dims.size()) {
    return Error(ERROR_REASON_RUNTIME_FAILED,
                 FormatString("output '{}' has {} axes, but its classes lie on axis {}",
                              settings.output, tensor.dims.size(), settings.class_axis));
  }
  reader.classes_ = static_cast<uint64_t>(tensor.dims[settings.class_axis]);
  for (size_t i = settings.class_axis + 1; i < tensor.dims.size(); ++i)
    reader.inner_ *= tensor.dims[i];
  reader.positions_ = reader.classes_ == 0 ? 0 : tensor.element_count() / reader.classes_;
  return reader;
}

double ClassReader::Score(uint64_t position, uint64_t label) const {
  return Numbers(*tensor_)[(position / inner_ * classes_ + label) * inner_ + position % inner_];
}

int64_t ClassReader::Class(uint64_t position, double threshold) const {
  const Numbers scores(*tensor_);
  if (IsBinary(*settings_)) {
    const double score = scores[position];
    return std::isnan(score) ? -1 : score > threshold;
  }
  const uint64_t first = position / inner_ * classes_ * inner_ + position % inner_;
  int64_t best = 0;
  double best_score = -std::numeric_limits<double>::infinity();
  for (uint64_t i = 0; i < classes_; ++i) {
    const double score = scores[first + i * inner_];
    if (std::isnan(score)) return -1;
    if (score <= best_score) continue;
    best = static_cast<int64_t>(i);
    best_score = score;
  }
  return best;
}

double ClassReader::Bits(uint64_t position, uint64_t label) const {
  if (settings_->probabilities) return -std::log2(Score(position, label));
  double highest = -std::numeric_limits<double>::infinity();
  for (uint64_t i = 0; i < classes_; ++i) highest = std::max(highest, Score(position, i));
  double sum = 0;
  for (uint64_t i = 0; i < classes_; ++i) sum += std::exp(Score(position, i) - highest);
  return (std::log(sum) - (Score(position, label) - highest)) / std::numbers::ln2;
}

bool ClassReader::InUnitInterval() const {
  const Numbers scores(*tensor_);
  const uint64_t count = tensor_->element_count();
  for (uint64_t i = 0; i < count; ++i) {
    const double score = scores[i];
    if (score < 0 || score > 1) return false;
  }
  return true;
}

absl::Status TaskMeter::Add(const TensorMap& outputs, const Batch& batch) {
  if (settings_.task == Judging::TASK_NONE || !batch.labels.has_value() || !labels_are_classes_) {
    return absl::OkStatus();
  }
  MP_ASSIGN_OR_RETURN(const ClassReader reader, ClassReader::Make(settings_, outputs));
  const Numbers labels(*batch.labels);
  const uint64_t count = batch.labels->element_count();
  if (count != reader.positions()) {
    return Error(ERROR_REASON_DATA_INVALID,
                 FormatString("{} labels for {} positions of output '{}', from sample {}", count,
                              reader.positions(), settings_.output, batch.first))
        .With("input", "labels")
        .With("expected", std::to_string(reader.positions()))
        .With("found", std::to_string(count));
  }
  const bool one_each = count <= batch.samples;
  for (Counts& counts : counts_) {
    for (auto* list : {&counts.true_positive, &counts.predicted, &counts.labelled}) {
      if (list->size() < reader.classes()) list->resize(reader.classes());
    }
  }
  if (IsBinary(settings_)) unit_interval_ = unit_interval_ && reader.InUnitInterval();
  const bool open = IsBinary(settings_) && !settings_.threshold.has_value();
  for (uint64_t i = 0; i < count; ++i) {
    const double value = labels[i];
    if (value < 0 && !one_each) continue;  // padding
    if (!(value >= 0 && value < static_cast<double>(reader.classes())) ||
        value != std::floor(value)) {
      if (settings_.guessed && settings_.class_axis < 0) {
        labels_are_classes_ = false;
        return absl::OkStatus();
      }
      const uint64_t sample =
          batch.first + i / std::max<uint64_t>(1, count / std::max<uint64_t>(1, batch.samples));
      return Error(ERROR_REASON_DATA_INVALID,
                   FormatString("label {} of sample {} is not one of the {} classes of output '{}'",
                                value, sample, reader.classes(), settings_.output))
          .With("input", "labels")
          .With("sample", std::to_string(sample))
          .With("expected", FormatString("0..{}", reader.classes() - 1))
          .With("found", FormatString("{}", value));
    }
    const auto label = static_cast<uint64_t>(value);
    ++positions_;
    for (int k = 0; k <= static_cast<int>(open); ++k) {
      Counts& counts = counts_[k];
      const int64_t chosen = reader.Class(i, settings_.threshold.value_or(kThresholds[k]));
      ++counts.labelled[label];
      if (chosen >= 0) ++counts.predicted[chosen];
      if (chosen != static_cast<int64_t>(label)) continue;
      ++counts.true_positive[label];
      ++counts.right;
    }
    if (settings_.task == Judging::TASK_LANGUAGE_MODEL) bits_ += reader.Bits(i, label);
  }
  return absl::OkStatus();
}

double TaskMeter::Threshold() const { return ThresholdFor(settings_, unit_interval_); }

TaskMetrics TaskMeter::Finish(double threshold) const {
  TaskMetrics metrics;
  if (positions_ == 0 || !labels_are_classes_) return metrics;
  const bool open = IsBinary(settings_) && !settings_.threshold.has_value();
  const Counts& counts = counts_[open && threshold == kThresholds[1] ? 1 : 0];
  const double positions = static_cast<double>(positions_);
  metrics.set_accuracy(static_cast<double>(counts.right) / positions);
  if (settings_.task == Judging::TASK_LANGUAGE_MODEL) {
    metrics.set_bits_per_token(bits_ / positions);
    return metrics;
  }
  const auto f1 = [&](size_t label) {
    const uint64_t both = counts.predicted[label] + counts.labelled[label];
    return both == 0
               ? 0.0
               : 2.0 * static_cast<double>(counts.true_positive[label]) / static_cast<double>(both);
  };
  double sum = 0;
  int occurring = 0;
  for (size_t label = 0; label < counts.labelled.size(); ++label) {
    if (counts.predicted[label] + counts.labelled[label] == 0) continue;
    sum += f1(label);
    ++occurring;
  }
  metrics.set_f1_macro(sum / occurring);
  if (counts.labelled.size() == 2) metrics.set_f1_binary(f1(1));
  return metrics;
}

absl::Status AgreementMeter::Add(const TensorMap& original, const TensorMap& artifact) {
  if (settings_.output.empty()) return absl::OkStatus();
  MP_ASSIGN_OR_RETURN(const ClassReader x, ClassReader::Make(settings_, original));
  MP_ASSIGN_OR_RETURN(const ClassReader y, ClassReader::Make(settings_, artifact));
  if (x.positions() != y.positions() || x.classes() != y.classes()) {
    return Error(ERROR_REASON_ARTIFACT_REJECTED,
                 FormatString("output '{}' has another shape in the artifact", settings_.output))
        .With("stage", "compare");
  }
  if (IsBinary(settings_)) unit_interval_ = unit_interval_ && x.InUnitInterval();
  positions_ += x.positions();
  for (uint64_t i = 0; i < x.positions(); ++i) {
    for (int k = 0; k < 2; ++k) {
      const double threshold = settings_.threshold.value_or(kThresholds[k]);
      same_[k] += x.Class(i, threshold) == y.Class(i, threshold);
      if (!IsBinary(settings_)) break;
    }
  }
  return absl::OkStatus();
}

std::optional<double> AgreementMeter::Finish() const {
  if (positions_ == 0) return std::nullopt;
  const int k = IsBinary(settings_) && !unit_interval_ ? 1 : 0;
  return static_cast<double>(same_[k]) / static_cast<double>(positions_);
}

}  // namespace modelpress
