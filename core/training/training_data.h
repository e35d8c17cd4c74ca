// Samples, the teacher's outputs and labels, divided into those that train, validate and judge.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/base/job_context.h"
#include "core/data/samples.h"
#include "core/measure/task_metrics.h"
#include "core/model/model.h"
#include "core/training/packed_rows.h"
#include "modelpress/v1/recipe.pb.h"

namespace modelpress {

// The first `training` rows of every array are for training, the rest for validation.
struct TrainingData : PackedRows {
  uint64_t training = 0, validation = 0, labelled = 0;
  // Of the training rows, those that are samples of the caller and no augmented copies come first.
  uint64_t originals = 0;
  // "train, unlabeled; validation: calib": for reports.
  std::string description;
  // What outputs hold, told or guessed: for reports.
  std::string task;
};

// Rows that are neither trained on nor validated by; every float32 output is a target.
struct HeldOutData : PackedRows {
  uint64_t rows = 0, labelled = 0;
  TaskSettings task;
  // Samples are random numbers.
  bool synthetic = false;
  // Where there were too few samples to keep apart what trains, validates and judges.
  std::vector<std::string> notes;
};

// Splits train and unlabeled, else calib or the data set without splits, else synthetic samples; see sample_split.h for
// which of them validate, and with `held_out` which are kept out and go there. Runs the teacher once over all of them.
// The split test is never read. `judging` and training.outputs say what outputs hold, as far as that is known
// (output_kinds.h). DATA_INVALID where samples differ in shape or labels are no classes; those of ResolveOutputs, of the
// data and of Session. `progress` gets 0..1.
absl::StatusOr<TrainingData> PackTrainingData(const Model& teacher, const DataSet* data,
                                              const Training& training, uint64_t seed,
                                              const JobContext& context,
                                              const std::function<void(double)>& progress,
                                              const Judging& judging = Judging(),
                                              HeldOutData* held_out = nullptr);

}  // namespace modelpress
