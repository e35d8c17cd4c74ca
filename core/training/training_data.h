// Samples, the teacher's outputs and labels as arrays in scratch files.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/job_context.h"
#include "core/data/samples.h"
#include "core/measure/task_metrics.h"
#include "core/model/model.h"
#include "modelpress/v1/recipe.pb.h"
#include "modelpress/v1/trainer.pb.h"

namespace modelpress {

// An array in a scratch file of its own.
struct PackedArray {
  std::string name;
  DataType type = DataType::kUndefined;
  std::vector<int64_t> dims;
  std::shared_ptr<MappedFile> file;
};

struct PackedTarget {
  std::string output;
  TrainTarget::Loss loss = TrainTarget::LOSS_UNSPECIFIED;
  int class_axis = 0;
  bool probabilities = false;
  double variance = 1;
  PackedArray teacher;
  std::optional<PackedArray> labels;
};

// Arrays with the same rows.
struct PackedRows {
  std::vector<PackedArray> inputs;
  std::vector<PackedTarget> targets;
  // A row is one feed as it stands, not to be joined with others: the model fixes its first axis, or has none.
  bool exact = false;
};

// The first `training` rows of every array are for training, the rest for validation.
struct TrainingData : PackedRows {
  uint64_t training = 0, validation = 0, labelled = 0;
  // Of the training rows, those that are samples of the caller and no augmented copies come first.
  uint64_t originals = 0;
  // "train, unlabeled; validation: calib": for reports.
  std::string description;
  // What was guessed of the task.
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

// Rows [first, first + count) of an array, as they are fed: of exact rows a single one, without the axis of rows. The
// bytes are those of the file.
Tensor RowsOf(const PackedArray& array, bool exact, uint64_t first, uint64_t count);
// The same rows of every input.
TensorMap FeedOf(const PackedRows& data, uint64_t first, uint64_t count);

// Splits train and unlabeled, else calib or the data set without splits, else synthetic samples; see sample_split.h for
// which of them validate, and with `held_out` which are kept out and go there. Runs the teacher once over all of them.
// The split test is never read. `judging` says what the task is, where that is known; with TASK_NONE every float32 output is
// trained by squares. DATA_INVALID where samples differ
// in shape; those of the data and of Session. `progress` gets 0..1.
absl::StatusOr<TrainingData> PackTrainingData(const Model& teacher, const DataSet* data,
                                              const Training& training, uint64_t seed,
                                              const JobContext& context,
                                              const std::function<void(double)>& progress,
                                              const Judging& judging = Judging(),
                                              HeldOutData* held_out = nullptr);

}  // namespace modelpress
