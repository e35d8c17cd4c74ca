// Trying learning rates: see learning_rate.h.
#include "core/training/learning_rate.h"

#include <algorithm>

#include "absl/strings/str_join.h"
#include "core/base/format_string.h"
#include "core/base/status.h"

namespace modelpress {
namespace {

constexpr double kFactors[] = {1, 3, 10, 30};
constexpr uint32_t kLeastSteps = 200, kPart = 20, kMostTrialSteps = 200, kLooks = 4;

}  // namespace

absl::StatusOr<ChosenRate> ChooseLearningRate(Model& model,
                                              const std::vector<Trainable>& parameters,
                                              const TrainingData& data, const TrainOptions& options,
                                              WeightArena& arena, const JobContext& context) {
  const Training& training = options.training;
  ChosenRate chosen{.rate = training.learning_rate()};
  if (training.steps() < kLeastSteps) return chosen;
  chosen.steps = std::min(training.steps() / kPart, kMostTrialSteps);
  TrainOptions trial = options;
  trial.trial = true;
  trial.training.set_steps(chosen.steps);
  trial.training.set_evaluate_every(std::max(1u, chosen.steps / kLooks));
  trial.training.set_max_seconds(training.max_seconds() / kPart);
  trial.training.set_keep_on_divergence(true);
  trial.training.clear_patience();
  for (const double factor : kFactors) {
    const double rate = factor * training.learning_rate();
    trial.training.set_learning_rate(rate);
    if (options.progress) {
      trial.progress = [&](double, std::string_view) {
        options.progress(0, FormatString("{}: trying learning rate {:.3g}", options.name, rate));
      };
    }
    v1::PassReport unused;
    MP_ASSIGN_OR_RETURN(const TrainingRun run,
                        TrainModel(model, parameters, data, trial, arena, context, &unused));
    const double loss = BestPoint(run).validation_loss();
    const bool best =
        std::ranges::all_of(chosen.tried, [&](const auto& other) { return loss < other.second; });
    if (best) chosen.rate = rate;
    chosen.tried.emplace_back(rate, loss);
  }
  return chosen;
}

std::string Describe(const ChosenRate& chosen) {
  if (chosen.steps == 0) return FormatString("{:.3g}", chosen.rate);
  const auto one = [](std::string* out, const std::pair<double, double>& tried) {
    out->append(FormatString("{:.3g}: {:.4g}", tried.first, tried.second));
  };
  return FormatString("{:.3g}, by the validation loss after trainings of {} steps ({})",
                      chosen.rate, chosen.steps, absl::StrJoin(chosen.tried, ", ", one));
}

}  // namespace modelpress
