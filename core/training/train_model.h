// Training a model by a teacher's outputs.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/job_context.h"
#include "core/training/hint_values.h"
#include "core/training/trainable.h"
#include "core/training/training_data.h"
#include "core/training/training_memory.h"
#include "core/training/training_options.h"

namespace modelpress {

// A training takes no more than this share of the time that its job has left: the rest is for judging, and for what comes
// after it. So a job with a deadline ends with what it has instead of with nothing.
inline constexpr double kShareOfTimeLeft = 0.8;
// The same for a trial: half a dozen of them must leave time for the training that they are made for.
inline constexpr double kTrialShareOfTimeLeft = 0.1;

// The point of the run whose values were kept.
const TrainingPoint& BestPoint(const TrainingRun& run);

struct TrainOptions {
  // Its defaults filled in.
  Training training;
  uint64_t seed = 0;
  std::string name;
  // Where codes of weights began, by the weights' names: rounding starts from these values, as far as they round to the
  // codes that the model has. May be null.
  const Model* original = nullptr;
  // Where the values are that hints name; null: in `original`.
  const Model* teacher = nullptr;
  // Shared by trainings of one teacher by the same data, which then compute what hints are followed by once. May be null.
  HintCache* hint_cache = nullptr;
  // Only the run is wanted: model and report stay as they are.
  bool trial = false;
  std::function<void(double fraction, std::string_view detail)> progress;
};

// Trains the parameters and puts the values of the least validation loss into the model. The report gets a row for each
// parameter, and a TrainingRun, which is returned. Nothing is changed where no step made the loss less. Errors: see
// RunTrainer.
absl::StatusOr<TrainingRun> TrainModel(Model& model, const std::vector<Trainable>& parameters,
                                       const TrainingData& data, const TrainOptions& options,
                                       WeightArena& arena, const JobContext& context,
                                       v1::PassReport* report);

}  // namespace modelpress
