// correct_bias: the mean error of quantized layers, taken out of their biases.
//
//   b[c] += mean over samples and positions of (y_float - y_quantized)[c]
//   (M. Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV
//   2019, with data; see bias_correction.h)
//
// y_float and y_quantized are the layer of the original and its quantized form on the original's
// inputs, so that no layer sees the errors of those before it. Channels are shifted where that lowers
// the error on held-back samples, and all of it is kept only if the whole model then loses less.
#include <algorithm>
#include <memory>
#include <optional>

#include "absl/container/flat_hash_set.h"
#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/measure/bias_correction.h"
#include "core/measure/layer_error.h"
#include "core/measure/loss_limits.h"
#include "core/measure/model_loss.h"
#include "core/passes/pass.h"
#include "core/quant/affine_folding.h"
#include "core/quant/batch_norm_folding.h"
#include "core/quant/function_inlining.h"
#include "core/quant/opset_conversion.h"
#include "core/quant/qdq_layers.h"
#include "core/quant/weight_selection.h"
#include "core/statistics/calibration_samples.h"

namespace modelpress {
namespace {

constexpr uint64_t kDefaultCalibration = 512, kSyntheticSamples = 16, kMatchingSamples = 2;
// A layer whose own relative error is larger is not the same layer in both models.
constexpr double kSameLayer = 0.1;

class CorrectBiasPass final : public Pass {
 public:
  std::string_view name() const override { return "correct_bias"; }
  std::string_view summary() const override {
    return "the mean error of quantized layers, measured beside the original, taken out of their "
           "biases";
  }
  absl::Status Validate(const PassStep&) const override { return absl::OkStatus(); }
  PassEstimate Estimate(const Model& model, const PassStep&) const override {
    const uint64_t bytes = WeightBytes(model);
    return {192 << 20, bytes / 16 + (1 << 20), 2 + static_cast<double>(bytes) / 1e8};
  }
  absl::Status Apply(Model& model, const PassStep& step, PassContext& context,
                     PassReport& report) const override;
  std::vector<PassExample> examples() const override {
    return {
        {"codes that are too small by half a step make every output too small; the bias makes up "
         "for it, as inputs behind a Relu are positive on average",
         R"(<ir_version: 8, opset_import: ["" : 13]>
                g (float[2, 4] x) => (float[2, 2] y)
                <int8[4, 2] codes = {2, 4, 1, 3, 5, 0, 2, 1}, float scale = {0.2}, float[2] b = {1, 2}>
                { r = Relu(x)
                  w = DequantizeLinear(codes, scale)
                  y = Gemm(r, w, b) })",
         "correct_bias: {}",
         {"Relu", "DequantizeLinear", "Gemm"},
         0.5,
         R"(<ir_version: 8, opset_import: ["" : 13]>
                g (float[2, 4] x) => (float[2, 2] y)
                <float[4, 2] w = {0.49, 0.89, 0.29, 0.69, 1.09, 0.09, 0.49, 0.29}, float[2] b = {1, 2}>
                { r = Relu(x)
                  y = Gemm(r, w, b) })"},
        {"a model that is its own original: its layers have no error",
         R"(<ir_version: 8, opset_import: ["" : 13]>
                g (float[2, 4] x) => (float[2, 4] y) { t = Transpose(x) y = Transpose(t) })",
         "correct_bias: {max_samples: 8}\nallow_no_change: true",
         {"Transpose", "Transpose"},
         0}};
  }

 private:
  // The original as quantizing passes see it: `folded` as quantize_static does, or as it is.
  static absl::StatusOr<Model> Reference(const Model& model, bool folded, PassContext& context) {
    Model reference = context.original->Clone();
    google::protobuf::RepeatedPtrField<std::string> notes;
    InlineFunctions(reference, &notes);
    SeparateInitializersFromInputs(reference);
    NameNodes(reference.mutable_proto());
    if (folded) {
      MP_RETURN_IF_ERROR(FoldBatchNorms(reference, *context.arena, *context.job).status());
      MP_RETURN_IF_ERROR(FoldAffine(reference, *context.arena, *context.job).status());
      MP_RETURN_IF_ERROR(FoldBatchNorms(reference, *context.arena, *context.job).status());
    }
    if (reference.opset() < model.opset()) {
      MP_RETURN_IF_ERROR(ConvertDefaultDomain(reference, model.opset()));
    }
    return reference;
  }
};

absl::Status CorrectBiasPass::Apply(Model& model, const PassStep& step, PassContext& context,
                                    PassReport& report) const {
  const uint64_t wanted = step.correct_bias().max_samples();
  const uint64_t count = wanted > 0 ? wanted : kDefaultCalibration;
  MP_ASSIGN_OR_RETURN(const auto samples, OpenCalibrationSamples(model, context.data, count,
                                                                 std::min(count, kSyntheticSamples),
                                                                 context.seed, *context.job));
  Model named = model.Clone();
  NameNodes(named.mutable_proto());
  // Which form of the original has the layers of this model.
  std::optional<Model> reference;
  std::vector<LayerError> errors;
  const auto same = [](const std::vector<LayerError>& list) {
    return std::ranges::count_if(list,
                                 [](const LayerError& e) { return e.relative() < kSameLayer; });
  };
  for (const bool folded : {false, true}) {
    MP_ASSIGN_OR_RETURN(Model candidate, Reference(named, folded, context));
    MP_ASSIGN_OR_RETURN(
        auto found,
        MeasureLayerErrors(named, candidate, SamplePart::Spread(*samples, kMatchingSamples),
                           *context.job));
    if (reference.has_value() && same(found) <= same(errors)) continue;
    reference = std::move(candidate);
    errors = std::move(found);
  }
  absl::flat_hash_set<std::string> matched;
  for (const LayerError& error : errors) {
    if (error.relative() < kSameLayer) {
      matched.insert(error.node);
      continue;
    }
    *report.add_skips() = MakeSkip(SkipReason::kNoProducer, "", error.node,
                                   "the original has no float layer that gives nearly the same");
  }
  if (context.progress) context.progress(0.3, "layers found in the original");
  MP_RETURN_IF_ERROR(context.job->cancellation->Check());
  MP_ASSIGN_OR_RETURN(std::vector<BiasCorrection> corrections,
                      MeasureBiasCorrections(named, *reference, *samples, *context.job));
  std::erase_if(corrections,
                [&](const BiasCorrection& row) { return !matched.contains(row.node); });
  if (corrections.empty() && !matched.empty()) {
    report.add_notes("nothing can be held back of fewer than 5 samples: no bias was corrected");
  }
  if (context.progress) context.progress(0.7, "mean errors");
  MP_RETURN_IF_ERROR(context.job->cancellation->Check());
  Model corrected = named.Clone();
  MP_ASSIGN_OR_RETURN(const uint64_t kept, ShiftBiases(corrected, corrections, *context.arena));
  bool better = false;
  if (kept > 0) {
    MP_ASSIGN_OR_RETURN(const auto meter,
                        LossMeter::Make(*context.original, context.data, kJudgedSamples,
                                        context.seed, *context.arena, *context.job));
    MP_ASSIGN_OR_RETURN(const ModelLoss before, meter->Measure(model));
    MP_ASSIGN_OR_RETURN(const ModelLoss after, meter->Measure(corrected));
    better = IsBetter(after, before);
    report.add_notes(FormatString("{} on {} before, {} after: {}", Describe(before),
                                  meter->description(), Describe(after),
                                  better ? "kept" : "biases stay as they were"));
  }
  for (const BiasCorrection& row : corrections) {
    if (!better || row.kept == 0) {
      *report.add_skips() = MakeSkip(SkipReason::kNothingGained, "", row.node,
                                     better ? "no channel errs less on held-back samples"
                                            : "the whole model would not lose less");
      continue;
    }
    Change& change = *report.add_changes();
    change.set_node(row.node);
    change.set_what(FormatString("bias shifted in {} of {} channels", row.kept, row.channels));
  }
  if (better) model = std::move(corrected);
  return absl::OkStatus();
}

}  // namespace

void RegisterPass_correct_bias(PassRegistry& registry) {
  registry.Add(std::make_unique<CorrectBiasPass>());
}

}  // namespace modelpress
