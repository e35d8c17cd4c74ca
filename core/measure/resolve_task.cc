// Deciding what is judged: see ResolveTask in task_metrics.h.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_join.h"
#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/measure/numbers.h"
#include "core/measure/task_metrics.h"

namespace modelpress {
namespace {

using Shape = std::vector<int64_t>;

std::string ShapeText(const Shape& shape) {
  return FormatString("[{}]", absl::StrJoin(shape, ","));
}

Shape Without(const Shape& shape, size_t axis) {
  Shape rest = shape;
  rest.erase(rest.begin() + static_cast<ptrdiff_t>(axis));
  return rest;
}

// Trailing extents of 1 carry nothing: labels [N,1] are labels [N].
Shape Trimmed(Shape shape) {
  while (shape.size() > 1 && shape.back() == 1) shape.pop_back();
  return shape;
}

// The usual place of classes: last, or axis 1 for images of scores [N,C,H,W].
int UsualClassAxis(const Shape& shape) {
  return shape.size() >= 4 ? 1 : static_cast<int>(shape.size()) - 1;
}

// The class axis that makes the labels fit, the usual one first; -1: one score for each label;
// nothing: neither.
std::optional<int> FittingAxis(const Shape& output, const Shape& labels, std::optional<int> given) {
  if (given.has_value()) {
    if (Trimmed(Without(output, *given)) == Trimmed(labels)) return given;
    return std::nullopt;
  }
  if (output.size() >= 2) {
    std::vector<int> axes = {UsualClassAxis(output), 1, static_cast<int>(output.size()) - 1};
    for (const int axis : axes) {
      if (output[axis] > 1 && Trimmed(Without(output, axis)) == Trimmed(labels)) return axis;
    }
  }
  if (Trimmed(output) == Trimmed(labels)) return -1;
  return std::nullopt;
}

bool IsScore(const Tensor& tensor) { return IsFloatingPoint(tensor.type) && !tensor.dims.empty(); }

// Labels of classes are whole numbers; anything else is a target of a regression.
bool AreClasses(const Tensor& labels) {
  if (labels.type == DataType::kString) return false;
  const Numbers values(labels);
  for (uint64_t i = 0; i < labels.element_count(); ++i) {
    if (values[i] != std::floor(values[i])) return false;
  }
  return true;
}

bool AreProbabilities(const Tensor& scores, int class_axis) {
  const Numbers values(scores);
  const uint64_t count = scores.element_count();
  double sum = 0;
  for (uint64_t i = 0; i < count; ++i) {
    if (!(values[i] >= 0 && values[i] <= 1)) return false;
    sum += values[i];
  }
  const double positions =
      static_cast<double>(count) / static_cast<double>(scores.dims[class_axis]);
  return count > 0 && std::abs(sum - positions) < 1e-3 * positions;
}

struct Candidate {
  std::string name;
  const Tensor* tensor;
};

// The outputs that may be judged: the one that the recipe names, or every output of floating-point
// scores in order.
absl::StatusOr<std::vector<Candidate>> Candidates(const Judging& judging,
                                                  const std::vector<ValueInfo>& outputs,
                                                  const TensorMap& values) {
  std::vector<Candidate> candidates;
  std::vector<std::string> names;
  for (const ValueInfo& output : outputs) {
    const auto found = values.find(output.name);
    if (found == values.end()) continue;
    names.push_back(output.name);
    if (judging.output().empty() ? IsScore(found->second) : output.name == judging.output()) {
      candidates.push_back({output.name, &found->second});
    }
  }
  if (judging.output().empty()) return candidates;
  if (candidates.empty() || !IsScore(*candidates[0].tensor)) {
    return Error(ERROR_REASON_RECIPE_INVALID,
                 FormatString("judging.output: '{}' is {}", judging.output(),
                              candidates.empty() ? "no output of the model"
                                                 : "not an output of floating-point scores"))
        .With("field", "judging.output")
        .Remedy(FormatString("the outputs are {}", absl::StrJoin(names, ", ")));
  }
  return candidates;
}

// The recipe's class axis counted from 0 for an output of this rank.
absl::StatusOr<std::optional<int>> GivenAxis(const Judging& judging, const Candidate& candidate) {
  if (!judging.has_class_axis()) return std::optional<int>();
  const auto rank = static_cast<int>(candidate.tensor->dims.size());
  const int axis = judging.class_axis() < 0 ? judging.class_axis() + rank : judging.class_axis();
  if (axis < 0 || axis >= rank) {
    return Error(ERROR_REASON_RECIPE_INVALID,
                 FormatString(
                     "judging.class_axis: output '{}' has shape {}, so there is no axis {}",
                     candidate.name, ShapeText(candidate.tensor->dims), judging.class_axis()))
        .With("field", "judging.class_axis");
  }
  return std::optional<int>(axis);
}

// Without labels: where the classes are, for agreement only.
absl::StatusOr<TaskSettings> WithoutLabels(const Judging& judging,
                                           const std::vector<Candidate>& candidates) {
  TaskSettings settings;
  settings.description = "no labels, and the first output of scores has no classes";
  // Later outputs are often states and features, whose largest element says nothing.
  if (candidates.empty()) return settings;
  const Candidate& candidate = candidates.front();
  MP_ASSIGN_OR_RETURN(const std::optional<int> given, GivenAxis(judging, candidate));
  const Shape& shape = candidate.tensor->dims;
  if (!given.has_value() && shape.size() < 2) return settings;
  const int axis = given.value_or(UsualClassAxis(shape));
  if (shape[axis] < 2) return settings;
  settings.output = candidate.name;
  settings.class_axis = axis;
  settings.description =
      FormatString("no labels; agreement on output '{}', classes on axis {} ({})", candidate.name,
                   axis, given.has_value() ? "given" : "guessed");
  return settings;
}

}  // namespace

absl::StatusOr<TaskSettings> ResolveTask(const Judging& judging,
                                         const std::vector<ValueInfo>& outputs,
                                         const TensorMap& first_outputs, const Batch& first_batch) {
  MP_ASSIGN_OR_RETURN(const std::vector<Candidate> candidates,
                      Candidates(judging, outputs, first_outputs));
  const bool told =
      judging.task() != Judging::TASK_UNSPECIFIED && judging.task() != Judging::TASK_NONE;
  if (!first_batch.labels.has_value() || judging.task() == Judging::TASK_NONE) {
    if (told) {
      return Error(ERROR_REASON_DATA_MISSING, "judging.task needs labels, and the data has none")
          .With("needed", "labels")
          .Remedy("add labels.npy beside the inputs of the test split");
    }
    return WithoutLabels(judging, candidates);
  }
  const Tensor& labels = *first_batch.labels;
  if (!AreClasses(labels)) {
    if (told) {
      return Error(ERROR_REASON_DATA_INVALID,
                   "the labels are no class numbers, as judging.task needs")
          .With("input", "labels")
          .With("expected", "whole numbers")
          .With("found", DataTypeName(labels.type));
    }
    MP_ASSIGN_OR_RETURN(TaskSettings settings, WithoutLabels(judging, {}));
    settings.description =
        "the labels are no class numbers; outputs are compared with the original's only";
    return settings;
  }
  for (const Candidate& candidate : candidates) {
    MP_ASSIGN_OR_RETURN(const std::optional<int> given, GivenAxis(judging, candidate));
    const Shape& shape = candidate.tensor->dims;
    const std::optional<int> axis = FittingAxis(shape, labels.dims, given);
    if (!axis.has_value()) continue;
    if (*axis >= 0 && judging.task() == Judging::TASK_BINARY && shape[*axis] != 2) continue;
    if (*axis < 0 && judging.task() == Judging::TASK_LANGUAGE_MODEL) continue;
    TaskSettings settings;
    settings.output = candidate.name;
    settings.class_axis = *axis;
    if (judging.has_threshold()) settings.threshold = judging.threshold();
    // A step of time between samples and classes makes it a language model.
    const bool tokens = *axis == 2 && shape.size() == 3 && shape[1] > 1;
    settings.guessed = !told;
    settings.task = told        ? judging.task()
                    : *axis < 0 ? Judging::TASK_BINARY
                    : tokens    ? Judging::TASK_LANGUAGE_MODEL
                                : Judging::TASK_CLASSIFICATION;
    const std::string_view name = settings.task == Judging::TASK_BINARY ? "binary decision"
                                  : settings.task == Judging::TASK_LANGUAGE_MODEL
                                      ? "language model"
                                      : "classification";
    settings.description = FormatString("{} on output '{}'", name, candidate.name);
    if (*axis >= 0)
      settings.description += FormatString(", {} classes on axis {}", shape[*axis], *axis);
    if (*axis < 0 && settings.threshold.has_value()) {
      settings.description += FormatString(", class 1 above {}", *settings.threshold);
    }
    if (settings.task == Judging::TASK_LANGUAGE_MODEL) {
      settings.probabilities = AreProbabilities(*candidate.tensor, *axis);
      if (settings.probabilities) settings.description += ", scores are probabilities";
    }
    settings.description +=
        told && given.has_value()
            ? " (given)"
            : FormatString(" (guessed from labels of shape {})", ShapeText(labels.dims));
    return settings;
  }
  std::vector<std::string> shapes;
  for (const Candidate& candidate : candidates) {
    shapes.push_back(FormatString("'{}' {}", candidate.name, ShapeText(candidate.tensor->dims)));
  }
  return Error(
             ERROR_REASON_DATA_INVALID,
             FormatString("labels of shape {} fit no output of scores ({})", ShapeText(labels.dims),
                          shapes.empty() ? "there is none" : absl::StrJoin(shapes, ", ")))
      .With("input", "labels")
      .With("found", ShapeText(labels.dims))
      .Remedy(
          "labels need the output's shape without its class axis; say task: none under judging to "
          "ignore them");
}

}  // namespace modelpress
