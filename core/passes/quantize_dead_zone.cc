// quantize_dead_zone: int8 codes where small weights become exactly 0.
//
//   W float32 --> MatMul        W_quantized int8 (0 where |w| <= t) --> DequantizeLinear --> W -->
//   MatMul
//
//   code = 0 where |w| <= t, else clip(round_half_even(w / scale)),   scale = 2 max|w| / 254
//
// t is given, or chosen for each tensor from the histogram of |w| / scale: the widest dead zone
// whose squared error stays within max_sqnr_drop_db (3 dB) of plain rounding, or the narrowest that
// has min_sparsity zeros, whichever is wider (dead_zone.h). Source: the dead-zone quantizer of
// image coding (Sullivan, "Efficient scalar quantization of exponential and Laplacian random
// variables", 1996). Sparsity and error are reported beside those of plain rounding: a wider dead
// zone never lowers the error, it buys zeros. By default there are four to five times as many, and
// zstd saves 1 to 2 % (measured on trained networks; an equally costly coarser step saves more,
// without the zeros).
#include <algorithm>
#include <cmath>
#include <memory>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/passes/pass.h"
#include "core/passes/rounded_codes.h"
#include "core/quant/dead_zone.h"
#include "core/quant/float_values.h"
#include "core/quant/function_inlining.h"
#include "core/quant/progress.h"
#include "core/quant/weight_selection.h"

namespace modelpress {
namespace {

// Measured on one core; only for plans.
constexpr double kBytesPerSecond = 3e8;
// More than any signal has over the noise of 8 bits: a larger number is a slip.
constexpr double kMaxDropDb = 60;

class QuantizeDeadZonePass final : public Pass {
 public:
  std::string_view name() const override { return "quantize_dead_zone"; }
  std::string_view summary() const override {
    return "int8 codes with small weights exactly 0: about 4x smaller, and compresses further";
  }
  bool encodes_weights() const override { return true; }
  absl::Status Validate(const PassStep& step) const override;
  PassEstimate Estimate(const Model& model, const PassStep&) const override {
    const uint64_t bytes = WeightBytes(model);
    const uint64_t widened = LargestWidenedBytes(model);
    return {16 << 20, bytes / (widened > 0 ? 2 : 4) + bytes / 16 + widened + (1 << 20),
            static_cast<double>(bytes) / kBytesPerSecond};
  }
  absl::Status Apply(Model& model, const PassStep& step, PassContext& context,
                     PassReport& report) const override;
  std::vector<PassExample> examples() const override;
};

absl::Status QuantizeDeadZonePass::Validate(const PassStep& step) const {
  const QuantizeDeadZone& options = step.quantize_dead_zone();
  const auto refuse = [](std::string_view field, std::string_view rule) {
    const std::string path = FormatString("quantize_dead_zone.{}", field);
    return Error(ERROR_REASON_RECIPE_INVALID, FormatString("{} {}", path, rule))
        .With("field", path);
  };
  if (options.has_threshold() && !(options.threshold() >= 0 && options.threshold() < 3e38)) {
    return refuse("threshold", "must be a number >= 0");
  }
  if (options.has_min_sparsity()) {
    if (options.has_threshold()) return refuse("min_sparsity", "excludes threshold");
    if (!(options.min_sparsity() >= 0 && options.min_sparsity() < 1)) {
      return refuse("min_sparsity", "must be at least 0 and less than 1");
    }
  }
  if (options.has_max_sqnr_drop_db()) {
    if (options.has_threshold()) return refuse("max_sqnr_drop_db", "excludes threshold");
    if (!(options.max_sqnr_drop_db() >= 0 && options.max_sqnr_drop_db() <= kMaxDropDb)) {
      return refuse("max_sqnr_drop_db", FormatString("must be 0 to {}", kMaxDropDb));
    }
  }
  if (options.granularity() == QuantizeWeights::GRANULARITY_PER_BLOCK) {
    return refuse("granularity", "must be per_channel or per_tensor");
  }
  return ValidateSelection(options.weights(), "quantize_dead_zone.weights");
}

double Decibels(const ErrorSums& sums) { return 10 * std::log10(sums.signal / sums.noise); }

absl::StatusOr<std::optional<Skip>> Encode(const Model& model, const QuantizeDeadZone& options,
                                           bool per_channel, PassContext& context,
                                           WeightProgress& progress, CodedWeight* coded,
                                           Change* change) {
  if (auto skip = ChooseLayout(per_channel, coded); skip.has_value()) return skip;
  const CandidateWeight& weight = coded->weight;
  progress.Start(weight.name);
  MP_ASSIGN_OR_RETURN(const FloatValues floats,
                      FloatValues::Read(model, *weight.tensor, *context.job));
  const std::span<const std::byte> values = floats.bytes();
  MP_ASSIGN_OR_RETURN(WeightArena::Room room, context.arena->Allocate(weight.elements));
  // Plain rounding first: its error is what the dead zone's is held against.
  MP_ASSIGN_OR_RETURN(QuantizedTensor plain,
                      QuantizeTensor(values, coded->layout, coded->rule, kNoDeadZone, room.bytes,
                                     *context.job, nullptr));
  if (!plain.finite) {
    return MakeSkip(SkipReason::kNotFinite, weight.name, weight.reader(), "holds NaN or infinity");
  }
  const auto share_of_zeros = [&] {
    return static_cast<double>(std::ranges::count(room.bytes, std::byte{0})) /
           static_cast<double>(weight.elements);
  };
  change->set_plain_sparsity(share_of_zeros());
  ErrorSums sums = plain.sums;
  std::string zone;
  if (options.has_threshold()) {
    const auto threshold = static_cast<float>(options.threshold());
    MP_ASSIGN_OR_RETURN(const QuantizedTensor result,
                        QuantizeTensor(values, coded->layout, coded->rule, threshold, room.bytes,
                                       *context.job, progress.callback()));
    sums = result.sums;
    change->set_threshold(threshold);
    zone = FormatString("dead zone {:g}", threshold);
  } else {
    DeadZoneGoal goal;
    goal.min_sparsity = options.min_sparsity();
    if (options.has_max_sqnr_drop_db()) goal.max_sqnr_drop_db = options.max_sqnr_drop_db();
    MP_ASSIGN_OR_RETURN(const double steps, ChooseDeadZone(values, coded->layout, plain.parameters,
                                                           goal, *context.job));
    MP_ASSIGN_OR_RETURN(const double extra,
                        ApplyDeadZone(values, coded->layout, plain.parameters, steps, room.bytes,
                                      *context.job, progress.callback()));
    sums.noise += extra;
    if (plain.parameters.size() == 1) change->set_threshold(steps * plain.parameters[0].scale);
    zone = FormatString("dead zone {:.3g} steps", steps);
  }
  coded->parameters = std::move(plain.parameters);
  coded->codes = std::move(room.weight);
  change->set_tensor(weight.name);
  change->set_node(std::string(weight.reader()));
  change->set_what(FormatString("{}, {}", Describe(*coded), zone));
  change->set_sparsity(share_of_zeros());
  if (sums.noise > 0) change->set_sqnr_db(Decibels(sums));
  if (plain.sums.noise > 0) change->set_plain_sqnr_db(Decibels(plain.sums));
  return std::nullopt;
}

absl::Status QuantizeDeadZonePass::Apply(Model& model, const PassStep& step, PassContext& context,
                                         PassReport& report) const {
  const QuantizeDeadZone& options = step.quantize_dead_zone();
  InlineFunctions(model, report.mutable_notes());
  SeparateInitializersFromInputs(model);
  bool per_channel = options.granularity() != QuantizeWeights::GRANULARITY_PER_TENSOR;
  {
    // Where there is nothing to do, the opset stays as it is.
    const GraphIndex index(model.mutable_proto());
    MP_ASSIGN_OR_RETURN(const SelectedWeights found,
                        SelectWeights(model, index, options.weights()));
    if (!found.weights.empty()) {
      MP_RETURN_IF_ERROR(PrepareOpset(model, &per_channel, report.mutable_notes()));
    }
  }
  const GraphIndex index(model.mutable_proto());
  MP_ASSIGN_OR_RETURN(SelectedWeights found, SelectWeights(model, index, options.weights()));
  for (Skip& skip : found.skips) *report.add_skips() = std::move(skip);
  uint64_t total = 0;
  for (const CandidateWeight& weight : found.weights) total += weight.elements * sizeof(float);
  WeightProgress progress(context.progress, total);
  std::vector<CodedWeight> coded;
  for (CandidateWeight& weight : found.weights) {
    MP_RETURN_IF_ERROR(context.job->cancellation->Check());
    CodedWeight next;
    next.weight = std::move(weight);
    Change change;
    MP_ASSIGN_OR_RETURN(std::optional<Skip> skip,
                        Encode(model, options, per_channel, context, progress, &next, &change));
    if (skip.has_value()) {
      *report.add_skips() = *std::move(skip);
      continue;
    }
    MP_RETURN_IF_ERROR(FillBytes(model, next, &change));
    *report.add_changes() = std::move(change);
    coded.push_back(std::move(next));
  }
  if (!coded.empty()) {
    GraphAdditions additions(model, *context.arena);
    MP_RETURN_IF_ERROR(ReplaceByCodes(coded, additions));
    MP_RETURN_IF_ERROR(additions.Finish());
    RemoveDead(model.mutable_proto());
  }
  return absl::OkStatus();
}

std::vector<PassExample> QuantizeDeadZonePass::examples() const {
  return {
      {"the threshold is given",
       R"(<ir_version: 8, opset_import: ["" : 13]>
          g (float[2, 4] x) => (float[2, 2] y)
          <float[4, 2] w = {1, -0.1, 0.25, 2, -3, 0.1, 0.7, -0.9}>
          { y = MatMul(x, w) })",
       "quantize_dead_zone: {threshold: 0.1, weights: {min_elements: 1}}",
       {"DequantizeLinear", "MatMul"},
       0.6},
      {"the threshold is chosen so that half of the weights become 0",
       R"(<ir_version: 8, opset_import: ["" : 13]>
          g (float[1, 1, 4, 4] x) => (float[1, 1, 3, 3] y)
          <float[1, 1, 2, 2] w = {1, -0.01, 0.02, 2}>
          { y = Conv(x, w) })",
       "quantize_dead_zone: {min_sparsity: 0.5, granularity: per_tensor, weights: {min_elements: "
       "1}}",
       {"DequantizeLinear", "Conv"},
       0.15},
  };
}

}  // namespace

void RegisterPass_quantize_dead_zone(PassRegistry& registry) {
  registry.Add(std::make_unique<QuantizeDeadZonePass>());
}

}  // namespace modelpress
