// A student that is being made: its row of the report, its training, and what the judge says of it.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "core/distill/distillation.h"
#include "core/distill/judge.h"
#include "core/model/model.h"
#include "core/training/training_data.h"
#include "modelpress/v1/pass_report.pb.h"

namespace modelpress {

struct MadeStudent {
  Model model;
  // Of a given student 0: not known.
  double width = 1;
  uint64_t parameters = 0;
  double macs = 0;
  Verdict verdict;
  // Whether it had a training, and whether its values are those of one.
  bool trained_fully = false, trained = false;
  // Of the report.
  int row = -1;
};

v1::Student& RowOf(Distillation& distillation, const MadeStudent& student);
// What it is; not how good.
void DescribeStudent(const MadeStudent& student, v1::Student* row);
void AddRow(Distillation& distillation, v1::Student::Kind kind, MadeStudent& student);
// "student 3, width 0.343 (436,935 parameters)".
std::string NameOf(const Distillation& distillation, const MadeStudent& student);
void SetVerdict(const Verdict& verdict, v1::Student* row);

// The training of a student of this width. Where no rate was told, small students learn faster: a layer's learning rate for
// Adam goes with 1 / width (Yang et al. 2022, "Tensor programs V"), of which this is the careful half, the root. Seen on
// digits: 26,000 parameters reach 97.4 % instead of 95.3.
Training TrainingFor(const Distillation& distillation, double width);

// Trains in place on `data`; the row refers to the training. A model with nothing to train stays. `later`: how much time
// the trainings that may follow take, as a share of this one's. Errors: those of TrainModel.
absl::Status TrainInPlace(Distillation& distillation, Model& model, const std::string& name,
                          const TrainingData& data, const Training& training, double later,
                          v1::Student* row);

// Trains a student that was judged with all steps, and judges again: whether its values were taken. Values that met the
// requirement are kept where those after the training do not, and after an earlier training the better ones of the two.
// `later` as above.
absl::StatusOr<bool> TrainFully(Distillation& distillation, MadeStudent& student, double later);

// With all steps, and with as many again where the student is short of the requirement by less than its interval is wide.
absl::Status TrainTwice(Distillation& distillation, MadeStudent& student, double later);

}  // namespace modelpress
