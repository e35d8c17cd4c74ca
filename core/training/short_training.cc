// Trying options: see short_training.h.
#include "core/training/short_training.h"

#include <algorithm>

#include "absl/strings/str_join.h"
#include "core/base/format_string.h"
#include "core/base/status.h"

namespace modelpress {
namespace {

constexpr double kFactors[] = {1, 3, 10, 30};
constexpr uint32_t kLeastSteps = 200, kPart = 20, kMostSteps = 200, kLooks = 4;

}  // namespace

std::optional<Training> ShortTraining(const Training& training) {
  if (training.steps() < kLeastSteps) return std::nullopt;
  Training part = training;
  part.set_steps(std::min(training.steps() / kPart, kMostSteps));
  part.set_evaluate_every(std::max(1u, part.steps() / kLooks));
  part.set_max_seconds(training.max_seconds() / kPart);
  part.set_keep_on_divergence(true);
  part.clear_patience();
  return part;
}

absl::StatusOr<double> TryTraining(Model& model, const std::vector<Trainable>& parameters,
                                   const TrainingData& data, const TrainOptions& options,
                                   WeightArena& arena, const JobContext& context) {
  TrainOptions trial = options;
  trial.trial = true;
  v1::PassReport unused;
  MP_ASSIGN_OR_RETURN(const TrainingRun run,
                      TrainModel(model, parameters, data, trial, arena, context, &unused));
  return BestPoint(run).validation_loss();
}

absl::StatusOr<ChosenRate> ChooseLearningRate(Model& model,
                                              const std::vector<Trainable>& parameters,
                                              const TrainingData& data, const TrainOptions& options,
                                              WeightArena& arena, const JobContext& context) {
  const double usual = options.training.learning_rate();
  ChosenRate chosen{.rate = usual};
  const std::optional<Training> part = ShortTraining(options.training);
  if (!part.has_value()) return chosen;
  chosen.steps = part->steps();
  TrainOptions trial = options;
  trial.training = *part;
  for (const double factor : kFactors) {
    const double rate = factor * usual;
    trial.training.set_learning_rate(rate);
    if (options.progress) {
      trial.progress = [&](double, std::string_view) {
        options.progress(0, FormatString("{}: trying learning rate {:.3g}", options.name, rate));
      };
    }
    MP_ASSIGN_OR_RETURN(const double loss,
                        TryTraining(model, parameters, data, trial, arena, context));
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
