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

// The first `training` rows of every array are for training, the rest for validation.
struct TrainingData {
  std::vector<PackedArray> inputs;
  std::vector<PackedTarget> targets;
  uint64_t training = 0, validation = 0, labelled = 0;
  // A row is one feed as it stands, not to be joined with others: the model fixes its first axis, or has none.
  bool exact = false;
  // "train, unlabeled; validation: calib": for reports.
  std::string description;
  // What was guessed of the task.
  std::string task;
};

// Splits train and unlabeled, else calib or the data set without splits, else synthetic samples; validation by val, else
// by calib where it is not trained on, else by every tenth. Runs the teacher once over all of them. DATA_INVALID where
// samples differ in shape; those of the data and of Session. `progress` gets 0..1.
absl::StatusOr<TrainingData> PackTrainingData(const Model& teacher, const DataSet* data,
                                              const Training& training, uint64_t seed,
                                              const JobContext& context,
                                              const std::function<void(double)>& progress);

}  // namespace modelpress
