// The learning rate where nobody said one.
#pragma once

#include <string>
#include <vector>

#include "core/training/train_model.h"

namespace modelpress {

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
// ones, few-bit codes want small ones. A short training takes a twentieth of the steps, at most 200; trainings of fewer
// than 200 steps are not worth it. The model stays as it is. Errors: those of TrainModel but TRAINING_DIVERGED.
absl::StatusOr<ChosenRate> ChooseLearningRate(Model& model,
                                              const std::vector<Trainable>& parameters,
                                              const TrainingData& data, const TrainOptions& options,
                                              WeightArena& arena, const JobContext& context);

// "0.01, by trainings of 75 steps (0.001: 1.2, 0.003: 0.51, ...)".
std::string Describe(const ChosenRate& chosen);

}  // namespace modelpress
