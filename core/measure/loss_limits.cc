// What a pass may cost; see loss_limits.h.
#include "core/measure/loss_limits.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "modelpress/v1/recipe.pb.h"

namespace modelpress {
namespace {

constexpr double kDefaultAgreement = 0.98, kDefaultSqnrDb = 18, kDefaultAccuracyDrop = 0.01;

}  // namespace

absl::Status ValidateLimits(const v1::LossLimits& limits, std::string_view field) {
  const auto invalid = [&](std::string_view name, std::string_view rule) {
    const std::string path = FormatString("{}.{}", field, name);
    return Error(ERROR_REASON_RECIPE_INVALID, FormatString("{} must be {}", path, rule))
        .With("field", path);
  };
  if (limits.has_min_agreement() && !(limits.min_agreement() >= 0 && limits.min_agreement() <= 1)) {
    return invalid("min_agreement", "0 to 1");
  }
  if (limits.has_min_sqnr_db() && !std::isfinite(limits.min_sqnr_db())) {
    return invalid("min_sqnr_db", "a finite number");
  }
  if (limits.has_max_accuracy_drop() &&
      !(limits.max_accuracy_drop() >= 0 && limits.max_accuracy_drop() <= 1)) {
    return invalid("max_accuracy_drop", "0 to 1");
  }
  return absl::OkStatus();
}

bool IsWithin(const ModelLoss& loss, const v1::LossLimits& limits) {
  if (limits.off()) return true;
  // On few samples one of them may decide otherwise by chance, unless the caller says what may be.
  const double one = loss.samples > 0 ? 1.0 / static_cast<double>(loss.samples) : 0;
  const double sqnr = limits.has_min_sqnr_db() ? limits.min_sqnr_db() : kDefaultSqnrDb;
  const double agreement =
      limits.has_min_agreement() ? limits.min_agreement() : std::min(kDefaultAgreement, 1 - one);
  const double drop = limits.has_max_accuracy_drop() ? limits.max_accuracy_drop()
                                                     : std::max(kDefaultAccuracyDrop, one);
  constexpr double kRounding = 1e-9;
  return loss.sqnr_db >= sqnr && loss.agreement.value_or(1) >= agreement - kRounding &&
         loss.accuracy_drop.value_or(0) <= drop + kRounding;
}

bool IsBetter(const ModelLoss& candidate, const ModelLoss& best) {
  // Of decisions, those that are the reference's and those that are right count alike.
  const auto decisions = [](const ModelLoss& loss) {
    return loss.agreement.value_or(0) - loss.accuracy_drop.value_or(0);
  };
  const double two = 2.0 / static_cast<double>(std::max<uint64_t>(candidate.samples, 1));
  constexpr double kTieDb = 0.5;
  if (std::abs(candidate.sqnr_db - best.sqnr_db) < kTieDb) {
    if (decisions(candidate) != decisions(best)) return decisions(candidate) > decisions(best);
    return candidate.sqnr_db > best.sqnr_db;
  }
  return candidate.sqnr_db > best.sqnr_db &&
         candidate.agreement.value_or(1) >= best.agreement.value_or(0) - two &&
         candidate.accuracy_drop.value_or(0) <= best.accuracy_drop.value_or(0) + two;
}

std::string Describe(const ModelLoss& loss) {
  std::string text = FormatString("{:.1f} dB", loss.sqnr_db);
  if (loss.agreement.has_value()) text += FormatString(", agreement {:.4f}", *loss.agreement);
  if (loss.accuracy_drop.has_value()) {
    text += FormatString(", accuracy {:+.2f} points", 0.0 - 100 * *loss.accuracy_drop);
  }
  return text;
}

absl::StatusOr<std::unique_ptr<LossMeter>> MakeMeter(const Model& reference, const DataSet* data,
                                                     const v1::LossLimits& limits, uint64_t seed,
                                                     WeightArena& arena, const JobContext& context,
                                                     std::string* note) {
  if (limits.off()) return nullptr;
  auto meter = LossMeter::Make(reference, data,
                               limits.max_samples() > 0 ? limits.max_samples() : kJudgedSamples,
                               seed, arena, context);
  if (meter.ok() || data != nullptr || ReasonOf(meter.status()) == ERROR_REASON_JOB_CANCELLED) {
    return meter;
  }
  *note = FormatString(
      "the loss was not measured: without data, and the model does not run on synthetic samples "
      "({})",
      std::string(meter.status().message()));
  return nullptr;
}

absl::StatusOr<ModelLoss> MeasureCandidate(const LossMeter& meter, const Model& candidate,
                                           std::string* failure) {
  auto loss = meter.Measure(candidate);
  if (loss.ok()) {
    if (meter.synthetic()) loss->agreement.reset();
    return loss;
  }
  switch (ReasonOf(loss.status())) {
    case ERROR_REASON_OP_UNSUPPORTED:
    case ERROR_REASON_OPSET_UNSUPPORTED:
    case ERROR_REASON_MODEL_MALFORMED:
    case ERROR_REASON_RUNTIME_FAILED:
    case ERROR_REASON_ARTIFACT_REJECTED:
      break;
    default:
      return loss;
  }
  if (failure != nullptr) *failure = std::string(loss.status().message());
  return ModelLoss{.sqnr_db = -std::numeric_limits<double>::infinity()};
}

absl::StatusOr<size_t> FewestLeftOut(
    size_t entries, const v1::LossLimits& limits,
    const std::function<absl::StatusOr<ModelLoss>(size_t count)>& without) {
  size_t enough = entries, too_few = 0;
  while (enough - too_few > 1) {
    const size_t middle = too_few + (enough - too_few) / 2;
    MP_ASSIGN_OR_RETURN(const ModelLoss loss, without(middle));
    (IsWithin(loss, limits) ? enough : too_few) = middle;
  }
  return enough;
}

}  // namespace modelpress
