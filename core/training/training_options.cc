// Options of a training: see training_options.h.
#include "core/training/training_options.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/training/output_kinds.h"

namespace modelpress {
namespace {

constexpr uint32_t kMostSteps = 10'000'000, kMostPoints = 1000, kMostCopies = 64;
constexpr uint32_t kMostBatch = 1 << 16;
constexpr int kMostHints = 64;

// Where nobody says how many. Few samples are soon known by heart: 675 sentences were so after 400 steps, and 1,100 more
// took two minutes and made nothing better.
constexpr uint64_t kSteps = 1500, kFewestSteps = 200, kPasses = 100;

}  // namespace

absl::Status ValidateTraining(const Training& training, std::string_view field) {
  const auto refuse = [&](std::string_view name, std::string_view rule) {
    const std::string path = FormatString("{}.{}", field, name);
    return Error(ERROR_REASON_RECIPE_INVALID, FormatString("{} {}", path, rule))
        .With("field", path);
  };
  const Training full = WithDefaults(training);
  if (full.steps() < 1 || full.steps() > kMostSteps) {
    return refuse("steps", FormatString("must be 1 to {}", kMostSteps));
  }
  if (full.max_seconds() < 0) return refuse("max_seconds", "must not be negative");
  if (full.batch_size() > kMostBatch)
    return refuse("batch_size", FormatString("must be at most {}", kMostBatch));
  if (!(full.learning_rate() > 0)) return refuse("learning_rate", "must be positive");
  if (full.weight_decay() < 0) return refuse("weight_decay", "must not be negative");
  if (full.warmup() < 0 || full.warmup() > 1) return refuse("warmup", "must lie between 0 and 1");
  if (full.clip_norm() < 0) return refuse("clip_norm", "must not be negative");
  if (!(full.temperature() > 0)) return refuse("temperature", "must be positive");
  if (full.alpha() < 0 || full.alpha() > 1) return refuse("alpha", "must lie between 0 and 1");
  if (full.steps() / full.evaluate_every() > kMostPoints) {
    return refuse("evaluate_every", FormatString("must leave at most {} looks", kMostPoints));
  }
  if (full.augmented_copies() > kMostCopies) {
    return refuse("augmented_copies", FormatString("must be at most {}", kMostCopies));
  }
  if (full.hints_size() > kMostHints) {
    return refuse("hints", FormatString("must be at most {}", kMostHints));
  }
  for (int i = 0; i < full.hints_size(); ++i) {
    const FeatureHint& hint = full.hints(i);
    if (hint.teacher().empty()) {
      return refuse(FormatString("hints[{}].teacher", i), "must name a value");
    }
    if (hint.has_weight() && !(hint.weight() >= 0 && std::isfinite(hint.weight()))) {
      return refuse(FormatString("hints[{}].weight", i), "must not be negative");
    }
  }
  return ValidateOutputs(full.outputs(), FormatString("{}.outputs", field));
}

Training WithDefaults(Training training, uint64_t samples) {
  if (training.batch_size() == 0) training.set_batch_size(100);
  if (!training.has_steps()) {
    const uint64_t of_samples = std::min(samples, kSteps * training.batch_size());
    training.set_steps(static_cast<uint32_t>(
        std::clamp(kPasses * of_samples / training.batch_size(), kFewestSteps, kSteps)));
  }
  if (training.optimizer() == Training::OPTIMIZER_UNSPECIFIED) {
    training.set_optimizer(Training::OPTIMIZER_ADAMW);
  }
  const bool adam = training.optimizer() == Training::OPTIMIZER_ADAMW;
  if (training.learning_rate() == 0) training.set_learning_rate(adam ? 1e-3 : 1e-2);
  if (!training.has_weight_decay()) training.set_weight_decay(adam ? 1e-2 : 1e-4);
  if (!training.has_warmup()) training.set_warmup(0.05);
  if (!training.has_clip_norm()) training.set_clip_norm(1);
  if (!training.has_temperature()) training.set_temperature(3);
  if (!training.has_alpha()) training.set_alpha(0.7);
  if (training.evaluate_every() == 0)
    training.set_evaluate_every(std::max(1u, training.steps() / 20));
  return training;
}

}  // namespace modelpress
