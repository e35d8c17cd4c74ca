// Rows of trainings and students: see training_view.h.
#include "client/terminal/training_view.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/terminal/format.h"
#include "core/base/status.h"

namespace modelpress {

const MetricEstimate* BoundEstimate(
    const google::protobuf::RepeatedPtrField<MetricEstimate>& estimates) {
  const auto bound = std::ranges::find_if(
      estimates, [](const MetricEstimate& estimate) { return estimate.has_required(); });
  if (bound != estimates.end()) return &*bound;
  return estimates.empty() ? nullptr : &estimates[0];
}

std::vector<std::vector<std::string>> StudentRows(const PassReport& pass) {
  std::vector<std::vector<std::string>> rows;
  if (pass.students().empty()) return rows;
  std::string metric, required;
  for (const Student& student : pass.students()) {
    const MetricEstimate* estimate = BoundEstimate(student.after());
    if (estimate == nullptr) continue;
    metric = Printable(estimate->metric());
    if (estimate->has_required()) required = FormatNumber(estimate->required());
    break;
  }
  const auto cell = [](const auto& estimates) -> std::string {
    const MetricEstimate* estimate = BoundEstimate(estimates);
    if (estimate == nullptr) return "";
    const std::string& name = estimate->metric();
    if (name == "sqnr_db" || name == "bits_per_token" || name == "cosine") {
      return absl::StrCat(FormatNumber(estimate->value()), " (", FormatNumber(estimate->low()),
                          " to ", FormatNumber(estimate->high()), ")");
    }
    return absl::StrFormat("%.2f %% (%.2f to %.2f)", 100 * estimate->value(), 100 * estimate->low(),
                           100 * estimate->high());
  };
  rows.push_back({"student", "width", "parameters", absl::StrCat(metric, " before training"),
                  "after", "time", required.empty() ? "" : absl::StrCat("required: ", required)});
  int number = 0;
  for (const Student& student : pass.students()) {
    std::string name;
    switch (student.kind()) {
      case Student::KIND_TEACHER:
        name = "the original";
        break;
      case Student::KIND_GIVEN:
        name = "the given one";
        break;
      case Student::KIND_CONTROL:
        name = "control, labels alone";
        break;
      default:
        name = absl::StrCat(number);
    }
    ++number;
    std::string verdict = !student.holds() ? "misses" : required.empty() ? "" : "holds";
    if (student.chosen()) verdict = student.holds() ? "CHOSEN" : "CHOSEN, misses";
    if (student.kind() == Student::KIND_TEACHER) verdict = student.holds() ? "" : "misses";
    if (student.kind() == Student::KIND_NARROWED && !student.has_training()) {
      absl::StrAppend(&verdict, ", untrained");
    }
    rows.push_back({name, student.width() > 0 ? absl::StrFormat("%.3g", student.width()) : "",
                    FormatCount(student.parameters()), cell(student.before()),
                    student.has_training() || student.before().empty() ? cell(student.after()) : "",
                    student.seconds() > 0 ? FormatSeconds(student.seconds()) : "", verdict});
  }
  return rows;
}

std::vector<std::vector<std::string>> TrainingRows(const TrainingRun& run) {
  std::vector<std::vector<std::string>> rows = {
      {"step", "loss", "validation loss", "same top-1", "accuracy", "time", ""}};
  for (const TrainingPoint& point : run.points()) {
    rows.push_back({FormatCount(point.step()),
                    point.has_loss() ? absl::StrFormat("%.4f", point.loss()) : "",
                    absl::StrFormat("%.4f", point.validation_loss()),
                    point.has_agreement() ? FormatPercent(point.agreement()) : "",
                    point.has_accuracy() ? FormatPercent(point.accuracy()) : "",
                    FormatSeconds(point.seconds()), point.step() == run.best_step() ? "kept" : ""});
  }
  return rows;
}

std::string TrainingTitle(const TrainingRun& run) {
  std::string text =
      absl::StrCat(Printable(run.name()), ": ", FormatCount(run.steps()), " steps, ",
                   FormatCount(run.training_samples()), " samples, ", FormatCount(run.parameters()),
                   " values trained, ", FormatSeconds(run.seconds()), ", ",
                   FormatCount(static_cast<uint64_t>(run.samples_per_second())), " samples/s");
  if (run.end() == TrainingRun::END_NO_PROGRESS) text += "; stopped without progress";
  if (run.end() == TrainingRun::END_TIME) text += "; stopped at the time limit";
  if (run.end() == TrainingRun::END_DIVERGED) text += "; DIVERGED";
  if (run.restarts() > 0) {
    absl::StrAppend(&text, "; the trainer died and was started again ", run.restarts(), " times");
  }
  return text;
}

}  // namespace modelpress
