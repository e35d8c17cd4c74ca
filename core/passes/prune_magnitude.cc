// prune_magnitude: the smallest weights become 0.
//
//   W [0.9, -0.02, 0.4, 0.01] --> MatMul        W [0.9, 0, 0.4, 0] --> MatMul
//
// threshold t:            w = 0 where |w| <= t
// sparsity_per_tensor s:  the round(s n) smallest of each tensor's n values, ties by index
// sparsity_global s:      the same over all considered tensors together
// Source: Han et al., "Learning both weights and connections" (2015), the pruning step. Zeros stay
// in a dense tensor: the file keeps its size and compresses better; the runtime gains nothing.
#include <cmath>
#include <memory>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/passes/pass.h"
#include "core/quant/function_inlining.h"
#include "core/quant/magnitude.h"
#include "core/quant/progress.h"
#include "core/quant/weight_selection.h"

namespace modelpress {
namespace {

// Measured on one core; only for plans.
constexpr double kBytesPerSecond = 4e8;

class PruneMagnitudePass final : public Pass {
 public:
  std::string_view name() const override { return "prune_magnitude"; }
  std::string_view summary() const override {
    return "weights of small magnitude to 0: the file keeps its size and compresses better";
  }
  bool needs_float_weights() const override { return true; }
  absl::Status Validate(const PassStep& step) const override;
  PassEstimate Estimate(const Model& model, const PassStep&) const override {
    const uint64_t bytes = WeightBytes(model);
    return {16 << 20, bytes + (1 << 20), static_cast<double>(bytes) / kBytesPerSecond};
  }
  absl::Status Apply(Model& model, const PassStep& step, PassContext& context,
                     PassReport& report) const override;
  std::vector<PassExample> examples() const override;
};

absl::Status PruneMagnitudePass::Validate(const PassStep& step) const {
  const PruneMagnitude& options = step.prune_magnitude();
  const auto refuse = [](std::string_view field, std::string_view rule) {
    const std::string path = FormatString("prune_magnitude.{}", field);
    return Error(ERROR_REASON_RECIPE_INVALID, FormatString("{} {}", path, rule))
        .With("field", path);
  };
  const auto share = [](double s) { return s > 0 && s < 1; };
  switch (options.choice_case()) {
    case PruneMagnitude::kThreshold:
      // A threshold that no float reaches would prune everything.
      if (!(options.threshold() >= 0 && options.threshold() < 3e38)) {
        return refuse("threshold", "must be a number >= 0");
      }
      break;
    case PruneMagnitude::kSparsityPerTensor:
      if (!share(options.sparsity_per_tensor())) {
        return refuse("sparsity_per_tensor", "must lie between 0 and 1");
      }
      break;
    case PruneMagnitude::kSparsityGlobal:
      if (!share(options.sparsity_global())) {
        return refuse("sparsity_global", "must lie between 0 and 1");
      }
      break;
    case PruneMagnitude::CHOICE_NOT_SET:
      return refuse("threshold", "or sparsity_per_tensor or sparsity_global must be given");
  }
  return ValidateSelection(options.weights(), "prune_magnitude.weights");
}

uint64_t Share(double sparsity, uint64_t elements) {
  return static_cast<uint64_t>(std::nearbyint(sparsity * static_cast<double>(elements)));
}

// Drops weights that hold NaN or infinity; their order has no meaning.
absl::Status KeepFinite(const Model& model, PassContext& context, SelectedWeights* found,
                        std::vector<Magnitudes>* values) {
  std::vector<CandidateWeight> finite;
  for (CandidateWeight& weight : found->weights) {
    MP_ASSIGN_OR_RETURN(const auto bytes, model.Bytes(*weight.tensor));
    const Magnitudes magnitudes{bytes, Type(*weight.tensor)};
    MP_ASSIGN_OR_RETURN(const bool ok, AllFinite(magnitudes, *context.job));
    if (!ok) {
      found->skips.push_back(
          MakeSkip(SkipReason::kNotFinite, weight.name, weight.reader(), "holds NaN or infinity"));
      continue;
    }
    values->push_back(magnitudes);
    finite.push_back(std::move(weight));
  }
  found->weights = std::move(finite);
  return absl::OkStatus();
}

absl::Status PruneMagnitudePass::Apply(Model& model, const PassStep& step, PassContext& context,
                                       PassReport& report) const {
  const PruneMagnitude& options = step.prune_magnitude();
  InlineFunctions(model, report.mutable_notes());
  SeparateInitializersFromInputs(model);
  const GraphIndex index(model.mutable_proto());
  MP_ASSIGN_OR_RETURN(SelectedWeights found, SelectWeights(model, index, options.weights()));
  std::vector<Magnitudes> values;
  MP_RETURN_IF_ERROR(KeepFinite(model, context, &found, &values));
  for (Skip& skip : found.skips) *report.add_skips() = std::move(skip);

  uint64_t total = 0, total_bytes = 0;
  for (const CandidateWeight& weight : found.weights) total += weight.elements;
  for (const Magnitudes& tensor : values) total_bytes += tensor.values.size();
  WeightProgress progress(context.progress, total_bytes);
  MagnitudeCut cut = CutAt(options.threshold());
  if (options.has_sparsity_global()) {
    MP_ASSIGN_OR_RETURN(cut,
                        FindCut(values, Share(options.sparsity_global(), total), *context.job));
  }
  for (size_t i = 0; i < found.weights.size(); ++i) {
    const CandidateWeight& weight = found.weights[i];
    progress.Start(weight.name);
    if (options.has_sparsity_per_tensor()) {
      const uint64_t zeros = Share(options.sparsity_per_tensor(), weight.elements);
      MP_ASSIGN_OR_RETURN(cut, FindCut(std::span(&values[i], 1), zeros, *context.job));
    }
    MP_ASSIGN_OR_RETURN(WeightArena::Room room, context.arena->Allocate(values[i].values.size()));
    const double threshold = cut.threshold();
    MP_ASSIGN_OR_RETURN(const CutResult result,
                        ApplyCut(values[i], &cut, room.bytes, *context.job, progress.callback()));
    if (result.changed == 0) {
      *report.add_skips() = MakeSkip(SkipReason::kConstantTensor, weight.name, weight.reader(),
                                     "no value was small enough, or all that are were 0 already");
      continue;
    }
    const std::vector<int64_t> dims(weight.tensor->dims().begin(), weight.tensor->dims().end());
    MP_RETURN_IF_ERROR(model.SetBytes(weight.tensor, values[i].type, dims, std::move(room.weight)));
    Change& change = *report.add_changes();
    change.set_tensor(weight.name);
    change.set_node(std::string(weight.reader()));
    change.set_what(FormatString("{} values to 0", result.changed));
    change.set_threshold(threshold);
    change.set_sparsity(static_cast<double>(result.zeros) / static_cast<double>(weight.elements));
    if (result.sums.noise > 0) {
      change.set_sqnr_db(10 * std::log10(result.sums.signal / result.sums.noise));
    }
  }
  RemoveDead(model.mutable_proto());
  return absl::OkStatus();
}

std::vector<PassExample> PruneMagnitudePass::examples() const {
  return {
      {"values up to the threshold become 0",
       R"(<ir_version: 8, opset_import: ["" : 13]>
          g (float[2, 4] x) => (float[2, 2] y)
          <float[4, 2] w = {1, -0.01, 0.25, 2, -3, 0.01, 0.7, -0.9}>
          { y = MatMul(x, w) })",
       "prune_magnitude: {threshold: 0.01, weights: {min_elements: 1}}",
       {"MatMul"},
       0.2},
      {"a quarter of all values, wherever they are; of equal ones the first go",
       R"(<ir_version: 8, opset_import: ["" : 13]>
          g (float[2, 4] x) => (float[2, 2] y)
          <float[4, 2] a = {1, 2, 3, 4, 5, 6, 7, 8},
           float[2, 2] b = {0.01, 0.02, 0.01, 0.03}>
          { h = MatMul(x, a)
            y = MatMul(h, b) })",
       "prune_magnitude: {sparsity_global: 0.25, weights: {min_elements: 1}}",
       {"MatMul", "MatMul"},
       2},
  };
}

}  // namespace

void RegisterPass_prune_magnitude(PassRegistry& registry) {
  registry.Add(std::make_unique<PruneMagnitudePass>());
}

}  // namespace modelpress
