// Trainings of a few steps that choose among options by what they come to.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/training/train_model.h"

namespace modelpress {

// A training of so few steps that a handful of them is cheap beside `training`: a twentieth, at most 200. Nothing where
// that would say nothing: below 200 steps in all.
std::optional<Training> ShortTraining(const Training& training);

// The least validation loss of one. `options.training` is what ShortTraining gave, with whatever is to be tried in it; a
// loss that is not finite ends it without an error. The model stays as it is. Errors: those of TrainModel.
absl::StatusOr<double> TryTraining(Model& model, const std::vector<Trainable>& parameters,
                                   const TrainingData& data, const TrainOptions& options,
                                   WeightArena& arena, const JobContext& context);

struct ChosenRate {
  double rate = 0;
  // Steps of a short training; 0: there was none, and the rate is the default.
  uint32_t steps = 0;
  // The rates that were tried and the least validation loss that each came to.
  std::vector<std::pair<double, double>> tried;
};

// Trains shortly with the default rate and with 3, 10 and 30 times as much, each from the same values, through the whole
// course of warm-up and cosine, and takes the one with the least validation loss (of equal ones the lowest). How large
// steps may be depends on what was done to a model: one that lost nine weights of ten has a long way to go and wants large
// ones, few-bit codes want small ones. Errors: those of TryTraining.
absl::StatusOr<ChosenRate> ChooseLearningRate(Model& model,
                                              const std::vector<Trainable>& parameters,
                                              const TrainingData& data, const TrainOptions& options,
                                              WeightArena& arena, const JobContext& context);

// "0.01, by the validation loss after trainings of 75 steps (0.001: 1.2, 0.003: 0.51, ...)".
std::string Describe(const ChosenRate& chosen);

}  // namespace modelpress
