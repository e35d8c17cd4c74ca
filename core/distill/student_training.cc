// Training of students: see student_training.h.
#include "core/distill/student_training.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/base/format_count.h"
#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/quant/weight_selection.h"
#include "core/training/train_model.h"

namespace modelpress {
namespace {

// Times the default learning rate.
constexpr double kFastest = 3;

// Trains a copy and judges it; the student takes its values if they are better or hold.
absl::StatusOr<bool> TrainOnce(Distillation& distillation, MadeStudent& student,
                               const Training& training, const std::string& name, double later) {
  v1::Student& row = RowOf(distillation, student);
  const bool again = row.has_training();
  const uint32_t former = row.training();
  Model trained = student.model.Clone();
  MP_RETURN_IF_ERROR(
      TrainInPlace(distillation, trained, name, distillation.data, training, later, &row));
  MP_ASSIGN_OR_RETURN(Verdict verdict, distillation.judge->Judge(trained));
  if (student.verdict.holds && !verdict.holds) {
    if (again) row.set_training(former);
    SetVerdict(student.verdict, &row);
    row.set_why(again ? ""
                      : "the values before training hold and those after it do not: they are kept");
    return false;
  }
  // The training that changed nothing or made it worse is told of, and not taken.
  if (again && verdict.margin <= student.verdict.margin) {
    row.set_training(former);
    return false;
  }
  student.model = std::move(trained);
  student.trained = true;
  student.verdict = std::move(verdict);
  SetVerdict(student.verdict, &row);
  return true;
}

}  // namespace

v1::Student& RowOf(Distillation& distillation, const MadeStudent& student) {
  return *distillation.report.mutable_students(student.row);
}

void DescribeStudent(const MadeStudent& student, v1::Student* row) {
  row->set_width(student.width);
  row->set_parameters(student.parameters);
  row->set_weight_bytes(WeightBytes(student.model));
  row->set_macs(student.macs);
}

void AddRow(Distillation& distillation, v1::Student::Kind kind, MadeStudent& student) {
  student.row = distillation.report.students_size();
  v1::Student& row = *distillation.report.add_students();
  row.set_kind(kind);
  DescribeStudent(student, &row);
}

std::string NameOf(const Distillation& distillation, const MadeStudent& student) {
  if (distillation.request.student != nullptr) {
    return FormatString("the given student ({} parameters)", FormatCount(student.parameters));
  }
  return FormatString("student {}, width {:.3g} ({} parameters)", student.row, student.width,
                      FormatCount(student.parameters));
}

void SetVerdict(const Verdict& verdict, v1::Student* row) {
  row->clear_after();
  for (const auto& estimate : verdict.estimates) *row->add_after() = estimate;
  row->set_holds(verdict.holds);
  row->set_why(verdict.miss);
}

Training TrainingFor(const Distillation& distillation, double width) {
  Training training = distillation.training;
  const bool told = distillation.options.training().learning_rate() > 0;
  if (!told && width > 0 && training.optimizer() == Training::OPTIMIZER_ADAMW) {
    training.set_learning_rate(training.learning_rate() * std::min(kFastest, 1 / std::sqrt(width)));
  }
  return training;
}

absl::Status TrainInPlace(Distillation& distillation, Model& model, const std::string& name,
                          const TrainingData& data, const Training& training, double later,
                          v1::Student* row) {
  const GraphIndex index(model.mutable_proto());
  MP_ASSIGN_OR_RETURN(const Trainables found, FindTrainables(model, index, WeightSelection(),
                                                             training.batch_norm_statistics()));
  if (found.parameters.empty()) return absl::OkStatus();
  const TrainOptions options{
      .training = training,
      .seed = distillation.request.seed,
      .name = name,
      .original = distillation.request.teacher,
      .hint_cache = &data == &distillation.data ? &distillation.hint_cache : nullptr,
      .progress =
          [&distillation](double fraction, std::string_view detail) {
            distillation.progress.Training(fraction, std::string(detail));
          },
  };
  distillation.progress.BeginTraining(later);
  v1::PassReport rows;
  MP_ASSIGN_OR_RETURN(const TrainingRun run,
                      TrainModel(model, found.parameters, data, options, distillation.arena,
                                 distillation.context, &rows));
  row->set_training(static_cast<uint32_t>(distillation.report.trainings_size()));
  *distillation.report.add_trainings() = run;
  return absl::OkStatus();
}

absl::StatusOr<bool> TrainFully(Distillation& distillation, MadeStudent& student, double later) {
  const bool again = student.trained_fully;
  const std::string name = NameOf(distillation, student) + (again ? ", once more" : "");
  student.trained_fully = true;
  return TrainOnce(distillation, student, TrainingFor(distillation, student.width), name, later);
}

absl::Status TrainTwice(Distillation& distillation, MadeStudent& student, double later) {
  MP_RETURN_IF_ERROR(TrainFully(distillation, student, later).status());
  if (student.verdict.holds || !student.verdict.value_holds) return absl::OkStatus();
  return TrainFully(distillation, student, later).status();
}

}  // namespace modelpress
