// Accuracy, F1, agreement and bits per token from scores and labels, streamed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/data/samples.h"
#include "modelpress/v1/recipe.pb.h"
#include "modelpress/v1/report.pb.h"

namespace modelpress {

// What is judged, resolved from the recipe or guessed (see recipe.proto, Judging).
struct TaskSettings {
  // TASK_NONE: no metric needs labels. Never TASK_UNSPECIFIED.
  Judging::Task task = Judging::TASK_NONE;
  // The output whose classes are looked at; empty: no output has classes, so there is no agreement
  // either.
  std::string output;
  // Axis of the classes, >= 0; -1 for binary tasks with one score per position.
  int class_axis = -1;
  // Binary tasks: score > threshold is class 1. Absent: 0.5 if every score of the original lies in
  // [0, 1], else 0.
  std::optional<double> threshold;
  // Language models: the scores are probabilities already (no softmax is applied).
  bool probabilities = false;
  // The task was not told but guessed from the first batch.
  bool guessed = false;
  // For people: "classification on output 'logits', classes on axis 1 (guessed from labels of shape
  // [N])".
  std::string description;
};

// Decides from the recipe, the original's outputs on the first batch and its labels. Guesses, where
// the recipe does not say, from the shapes: labels are the output's shape without the class axis
// (the last one, or axis 1 for outputs of rank 4 and more), or the output's own shape (one score
// per position: binary). Three axes [N,T,V] with labels [N,T] are a language model. RECIPE_INVALID
// where the recipe names an output or axis that does not exist; DATA_INVALID where labels fit no
// output; DATA_MISSING where the recipe names a task that needs labels and there are none.
absl::StatusOr<TaskSettings> ResolveTask(const Judging& judging,
                                         const std::vector<ValueInfo>& outputs,
                                         const TensorMap& first_outputs, const Batch& first_batch);

// The class of every position of an output, in row-major order without the class axis: the lowest
// index of the highest score, or -1 where a score is NaN. For binary settings one value for each of
// the two thresholds (see below).
class ClassReader {
 public:
  // Fails (RUNTIME_FAILED) if the output has changed its rank.
  static absl::StatusOr<ClassReader> Make(const TaskSettings& settings, const TensorMap& outputs);

  uint64_t positions() const { return positions_; }
  // Number of classes; 2 for binary settings.
  uint64_t classes() const { return classes_; }
  int64_t Class(uint64_t position, double threshold) const;
  // -log2 of the probability of `label` at a position; not for binary settings.
  double Bits(uint64_t position, uint64_t label) const;
  // Whether every score lies in [0, 1].
  bool InUnitInterval() const;

 private:
  double Score(uint64_t position, uint64_t label) const;

  const TaskSettings* settings_ = nullptr;
  const Tensor* tensor_ = nullptr;
  uint64_t positions_ = 0, classes_ = 0, inner_ = 1;
};

// Accumulates one model's metrics.
//   accuracy       share of positions whose class is the label
//   f1_macro       mean over classes that occur as label or prediction of 2PR/(P+R) =
//   2TP/(predicted + labelled) f1_binary      F1 of class 1, where there are two classes
//   bits_per_token mean of -log2 softmax(scores)[label]
// Negative labels are ignored (padding) where a sample has several positions, and refused where it
// has one.
class TaskMeter {
 public:
  explicit TaskMeter(TaskSettings settings) : settings_(std::move(settings)) {}
  // DATA_INVALID, naming the sample, if a label lies outside the classes (but see labels_are_classes).
  absl::Status Add(const TensorMap& outputs, const Batch& batch);
  // Where one score per label was guessed to be a binary decision, a label other than 0 and 1 shows
  // that it is a regression: then false, and there are no metrics.
  bool labels_are_classes() const { return labels_are_classes_; }
  // The threshold for these scores if the settings leave it open. Judge both models by the
  // original's.
  double Threshold() const;
  TaskMetrics Finish(double threshold) const;

 private:
  // Counts for one threshold (there is one only, unless it is left open).
  struct Counts {
    std::vector<uint64_t> true_positive, predicted, labelled;
    uint64_t right = 0;
  };
  TaskSettings settings_;
  Counts counts_[2];
  uint64_t positions_ = 0;
  double bits_ = 0;
  bool unit_interval_ = true;
  bool labels_are_classes_ = true;
};

// Share of positions where two models choose the same class.
class AgreementMeter {
 public:
  explicit AgreementMeter(TaskSettings settings) : settings_(std::move(settings)) {}
  absl::Status Add(const TensorMap& original, const TensorMap& artifact);
  // Absent if no output has classes.
  std::optional<double> Finish() const;

 private:
  TaskSettings settings_;
  uint64_t positions_ = 0, same_[2] = {0, 0};
  bool unit_interval_ = true;
};

}  // namespace modelpress
