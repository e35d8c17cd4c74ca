// smooth_activations: activation outliers moved into weights before a quantization (SmoothQuant).
//
//   x --> LayerNormalization (g, b)     --> MatMul (W)   --> y
//   x --> LayerNormalization (g/s, b/s) --> MatMul (s W) --> y
//
//   s_j = max|x_j|^alpha / max|W_j|^(1 - alpha), alpha by the error left on held-back samples
//
// Source: Xiao et al. 2022, "SmoothQuant"; the formulas are in core/quant/smoothing.h. The function
// stays the same up to float rounding. Values are scaled by constants of what makes them
// (LayerNormalization, also as Mul and Add; MatMul, Gemm, Mul, Div), else by a Mul, which must gain
// more to be worth its time. To be followed by quantize_static or quantize_dynamic.
#include <algorithm>
#include <cmath>
#include <memory>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/model/value_key.h"
#include "core/passes/pass.h"
#include "core/quant/function_inlining.h"
#include "core/quant/smoothing.h"
#include "core/quant/weight_selection.h"
#include "core/statistics/calibration_samples.h"
#include "core/statistics/statistics.h"

namespace modelpress {
namespace {

// Trying a dozen alphas; only for plans.
constexpr double kBytesPerSecond = 2e7;
constexpr uint64_t kSyntheticSamples = 16;
// What smoothing must gain to be done, and to be worth a Mul that runs each time or a factor of Gelu
// that is no longer one number (the runtime fuses Gelu by its constants).
constexpr double kLeastGainDb = 0.5, kLeastGainOfMulDb = 3;
// Every fifth sample is held back.
constexpr uint64_t kHeldBack = 5;

class SmoothActivationsPass final : public Pass {
 public:
  std::string_view name() const override { return "smooth_activations"; }
  std::string_view summary() const override {
    return "activation outliers moved into the weights of MatMul and Gemm (SmoothQuant), before a "
           "quantization";
  }
  bool needs_float_weights() const override { return true; }
  absl::Status Validate(const PassStep& step) const override {
    const SmoothActivations& options = step.smooth_activations();
    if (!options.has_alpha() || (options.alpha() >= 0 && options.alpha() <= 1)) {
      return absl::OkStatus();
    }
    return Error(ERROR_REASON_RECIPE_INVALID,
                 FormatString("smooth_activations.alpha is {}, must be 0 to 1", options.alpha()))
        .With("field", "smooth_activations.alpha");
  }
  PassEstimate Estimate(const Model& model, const PassStep&) const override {
    const uint64_t bytes = WeightBytes(model);
    return {128 << 20, 2 * bytes + (1 << 20), 1 + static_cast<double>(bytes) / kBytesPerSecond};
  }
  absl::Status Apply(Model& model, const PassStep& step, PassContext& context,
                     PassReport& report) const override;
  std::vector<PassExample> examples() const override;
  std::vector<std::vector<PassStep>> tuning_candidates() const override {
    PassStep smooth, quantize;
    smooth.mutable_smooth_activations();
    quantize.mutable_quantize_static();
    return {{smooth, quantize}};
  }
};

struct FitAndHeldBack {
  Statistics fit, held_back;
};

absl::StatusOr<FitAndHeldBack> Gather(const Model& model, const Samples& samples,
                                      const std::vector<StatisticRequest>& requests,
                                      PassContext& context) {
  // Of too few samples none is held back.
  const bool all = samples.batches() < kHeldBack;
  const SamplePart everything = SamplePart::Spread(samples, samples.batches());
  const SamplePart fit = all ? everything : SamplePart::WithoutEvery(samples, kHeldBack);
  const SamplePart held_back = all ? everything : SamplePart::Every(samples, kHeldBack);
  const auto progress = [&](double from, double to) -> GatherProgress {
    return [&context, from, to](double fraction) {
      if (context.progress) context.progress(from + (to - from) * fraction, "calibration");
    };
  };
  FitAndHeldBack result;
  MP_ASSIGN_OR_RETURN(result.fit,
                      GatherStatistics(model, fit, requests, *context.job, progress(0, 0.4)));
  MP_ASSIGN_OR_RETURN(result.held_back, GatherStatistics(model, held_back, requests, *context.job,
                                                         progress(0.4, 0.5)));
  return result;
}

std::optional<SmoothStatistics> Find(const Statistics& statistics, const StatisticRequest& request,
                                     uint64_t channels) {
  const ValueStatistics* found = statistics.FindRequest(request);
  if (found == nullptr || !found->channels.has_value() || found->channels->max.size() != channels) {
    return std::nullopt;
  }
  return SmoothStatistics{found->channels->min, found->channels->max, found->channels->mean_square};
}

absl::Status SmoothActivationsPass::Apply(Model& model, const PassStep& step, PassContext& context,
                                          PassReport& report) const {
  const SmoothActivations& options = step.smooth_activations();
  InlineFunctions(model, report.mutable_notes());
  SeparateInitializersFromInputs(model);
  const GraphIndex index(model.mutable_proto());
  std::vector<v1::Skip> skips;
  const std::vector<SmoothTarget> targets = FindSmoothTargets(model, index, &skips);
  for (v1::Skip& skip : skips) *report.add_skips() = std::move(skip);
  if (targets.empty()) return absl::OkStatus();
  const GraphPaths paths(model.mutable_proto());
  std::vector<StatisticRequest> requests;
  for (const SmoothTarget& target : targets) {
    requests.push_back(
        {.key =
             paths.KeyOf(index, *target.graph, target.value).value_or(ValueKey{"", target.value}),
         .channel_axis = -1});
  }
  MP_ASSIGN_OR_RETURN(const auto samples,
                      OpenCalibrationSamples(model, context.data, options.max_samples(),
                                             kSyntheticSamples, context.seed, *context.job));
  if (samples->synthetic()) {
    *report.add_notes() =
        "calibrated on synthetic samples, as no data was given: they do not show the outliers of "
        "real inputs";
  }
  MP_ASSIGN_OR_RETURN(const FitAndHeldBack statistics, Gather(model, *samples, requests, context));

  const bool per_channel = options.granularity() != QuantizeWeights::GRANULARITY_PER_TENSOR;
  UniqueNames names(model.proto());
  for (size_t t = 0; t < targets.size(); ++t) {
    const SmoothTarget& target = targets[t];
    const auto skip = [&](SkipReason reason, const std::string& detail) {
      for (const SmoothReader& reader : target.readers) {
        *report.add_skips() = MakeSkip(reason, reader.weight_name, reader.node->name(), detail);
      }
    };
    if (context.progress) {
      context.progress(0.5 + 0.5 * static_cast<double>(t) / static_cast<double>(targets.size()),
                       target.value);
    }
    const auto fit = Find(statistics.fit, requests[t], target.channels);
    const auto held_back = Find(statistics.held_back, requests[t], target.channels);
    if (!fit.has_value() || !held_back.has_value()) {
      skip(SkipReason::kNotObserved,
           FormatString("no calibration sample came by '{}'", target.value));
      continue;
    }
    const bool inserts = target.absorbers.empty();
    const bool costly = inserts || std::ranges::any_of(target.absorbers, [](const auto& absorber) {
                          return absorber.scalar.has_value();
                        });
    if (inserts && options.has_insert_mul() && !options.insert_mul()) {
      skip(SkipReason::kSharedProducer,
           FormatString("{}, and insert_mul is off", target.not_absorbed));
      continue;
    }
    MP_ASSIGN_OR_RETURN(
        const Smoothing chosen,
        ChooseSmoothing(model, target, *fit, *held_back, per_channel,
                        options.has_alpha() ? std::optional(options.alpha()) : std::nullopt,
                        costly ? kLeastGainOfMulDb : kLeastGainDb, *context.job));
    if (chosen.scales.empty()) {
      skip(SkipReason::kNothingGained,
           FormatString(
               "the best alpha, {:.2f}, is predicted to leave {:.1f} dB, plain rounding "
               "{:.1f} dB{}",
               chosen.alpha, chosen.sqnr_db, chosen.plain_sqnr_db,
               inserts ? FormatString("; it would take a Mul ({})", target.not_absorbed) : ""));
      continue;
    }
    MP_RETURN_IF_ERROR(
        ApplySmoothing(model, target, chosen.scales, names, *context.arena, *context.job));
    for (const SmoothReader& reader : target.readers) {
      Change& change = *report.add_changes();
      change.set_tensor(reader.weight_name);
      change.set_node(reader.node->name());
      change.set_what(FormatString("alpha {:.2f}, factors {}", chosen.alpha,
                                   inserts ? "in a new Mul" : "in what makes its input"));
      change.set_sqnr_db(chosen.sqnr_db);
      change.set_plain_sqnr_db(chosen.plain_sqnr_db);
    }
  }
  MP_RETURN_IF_ERROR(SortTopologically(model.mutable_proto()));
  *report.add_notes() = FormatString(
      "{} layers smoothed, {} left as they were; sqnr_db is predicted "
      "for int8 outputs of the layer, plain_sqnr_db without smoothing",
      report.changes_size(), report.skips_size());
  RemoveDead(model.mutable_proto());
  return absl::OkStatus();
}

std::vector<PassExample> SmoothActivationsPass::examples() const {
  return {
      {"into the LayerNormalization before two layers that share their input",
       R"(<ir_version: 8, opset_import: ["" : 17]>
          g (float[2, 4] x) => (float[2, 2] y, float[2, 2] z)
          <float[4] g = {1, 40, -0.5, 0.2}, float[4] b = {0.1, 5, 0, 0.2},
           float[4, 2] w = {1, -0.5, 0.02, 0.03, -3, 0.1, 0.7, -0.9},
           float[4, 2] v = {1, 0.5, 0.01, 0.02, -2, 0.1, 0.6, -0.8}>
          { n = LayerNormalization(x, g, b)
            y = MatMul(n, w)
            z = MatMul(n, v) })",
       "smooth_activations: {}",
       {"LayerNormalization", "MatMul", "MatMul"},
       1e-4},
      {"a Mul where the value has other readers",
       R"(<ir_version: 8, opset_import: ["" : 17]>
          g (float[2, 4] x) => (float[2, 2] y, float[2, 4] n)
          <float[4] g = {1, 400, -0.5, 0.2}, float[4, 2] w = {1, -0.5, 0.002, 0.003, -3, 0.1, 0.7, -0.9}>
          { n = Mul(x, g)
            y = MatMul(n, w) })",
       "smooth_activations: {alpha: 0.5}",
       {"Mul", "Mul", "MatMul"},
       1e-4},
  };
}

}  // namespace

void RegisterPass_smooth_activations(PassRegistry& registry) {
  registry.Add(std::make_unique<SmoothActivationsPass>());
}

}  // namespace modelpress
