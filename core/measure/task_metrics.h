// Accuracy, F1, agreement and bits per token from scores and labels, streamed.
#pragma once

#include <optional>
#include <string>

#include "core/data/samples.h"
#include "modelpress/v1/recipe.pb.h"
#include "modelpress/v1/report.pb.h"

namespace modelpress {

// What is judged, resolved from the recipe or guessed (see recipe.proto, Judging).
struct TaskSettings {
  Judging::Task task = Judging::TASK_NONE;
  std::string output;
  int class_axis = -1;
  double threshold = 0.5;
  // For people: "classification on output 'logits', classes on axis 1 (guessed from labels of shape [N])".
  std::string description;
};

// Decides from the recipe, the original's output on the first batch and its labels. RECIPE_INVALID where the recipe
// names an output or axis that does not exist; DATA_INVALID where labels do not fit.
absl::StatusOr<TaskSettings> ResolveTask(const Judging& judging, const std::vector<ValueInfo>& outputs,
                                         const TensorMap& first_outputs, const Batch& first_batch);

// Accumulates one model's metrics.
//   accuracy       share of positions whose argmax over the class axis (lowest index on ties) is the label
//   f1_macro       mean over classes that occur as label or prediction of 2PR/(P+R)
//   f1_binary      F1 of class 1
//   bits_per_token mean of -log2 softmax(scores)[label]; negative labels are ignored (padding)
class TaskMeter {
 public:
  explicit TaskMeter(TaskSettings settings) : settings_(std::move(settings)) {}
  // DATA_INVALID if a label lies outside the classes.
  absl::Status Add(const TensorMap& outputs, const Batch& batch);
  TaskMetrics Finish() const;

 private:
  TaskSettings settings_;
  std::vector<uint64_t> true_positive_, predicted_, labelled_;
  uint64_t positions_ = 0, right_ = 0;
  double bits_ = 0;
  bool language_model_ = false;
};

// Share of positions where two models choose the same class.
class AgreementMeter {
 public:
  explicit AgreementMeter(TaskSettings settings) : settings_(std::move(settings)) {}
  absl::Status Add(const TensorMap& original, const TensorMap& artifact);
  std::optional<double> Finish() const;

 private:
  TaskSettings settings_;
  uint64_t positions_ = 0, same_ = 0;
};

}  // namespace modelpress
