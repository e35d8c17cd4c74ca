// quantize_weights: weights as 8-bit codes that a DequantizeLinear turns back into floats when the
// model runs.
//
//   W float32 [64, 32, 3, 3] --> Conv         W_quantized int8 [64, 32, 3, 3] --.
//                                             W_scale float32 [64] -------------+-->
//                                             DequantizeLinear --> W --> Conv
//
// symmetric:  scale = 2 max|w| / (qmax - qmin) for each output channel, code =
// clip(round_half_even(w / scale)) asymmetric: scale = (max - min) / (qmax - qmin), zero_point =
// round(qmin - min / scale) Source: ONNX Runtime's quantizer (quant_utils.py: compute_scale_zp,
// quantize_nparray), matched bit for bit; int8 uses -127..127. Embedding tables are dequantized row
// by row after the Gather (see code_weight.h).
//
// Activations stay float: the artifact is about four times smaller, and MatMul-heavy models run
// slower, because the runtime dequantizes at every call.
#include <cmath>
#include <memory>

#include "core/base/status.h"
#include "core/passes/coding_pass.h"

namespace modelpress {
namespace {

// Measured on one core; only for plans.
constexpr double kBytesPerSecond = 3e9;

class QuantizeWeightsPass final : public Pass {
 public:
  std::string_view name() const override { return "quantize_weights"; }
  std::string_view summary() const override {
    return "weights to 8-bit codes with DequantizeLinear: about 4x smaller, activations stay float";
  }

  absl::Status Validate(const PassStep& step) const override {
    return ValidateSelection(step.quantize_weights().weights(), "quantize_weights.weights");
  }

  PassEstimate Estimate(const Model& model, const PassStep&) const override {
    const uint64_t bytes = WeightBytes(model);
    // Codes are a quarter of float32 and half of float16; scales and alignment are well below the
    // rest.
    const uint64_t widened = LargestWidenedBytes(model);
    return {16 << 20, bytes / (widened > 0 ? 2 : 4) + bytes / 16 + widened + (1 << 20),
            static_cast<double>(bytes) / kBytesPerSecond};
  }

  absl::StatusOr<PassReport> Run(Model& model, const PassStep& step,
                                 PassContext& context) const override;
  std::vector<PassExample> examples() const override;
  std::vector<std::vector<PassStep>> tuning_candidates() const override {
    PassStep step;
    step.mutable_quantize_weights();
    return {{step}};
  }
};

AffineRule RuleOf(const QuantizeWeights& options) {
  return {options.type() == QuantizeWeights::TYPE_UINT8 ? CodeType::kUint8 : CodeType::kInt8,
          options.scheme() != QuantizeWeights::SCHEME_ASYMMETRIC};
}

absl::StatusOr<PassReport> QuantizeWeightsPass::Run(Model& model, const PassStep& step,
                                                    PassContext& context) const {
  const QuantizeWeights& options = step.quantize_weights();
  return RunCoding(
      *this, model, step, options.granularity(), options.weights(), RuleOf(options), context,
      [&](bool per_channel, WeightProgress& progress, CodedWeight* coded, Change* change) {
        return EncodeByRounding(model, context, per_channel, progress, coded, change);
      });
}

std::vector<PassExample> QuantizeWeightsPass::examples() const {
  return {
      {"a MatMul's weight, one scale for each of its columns",
       R"(<ir_version: 8, opset_import: ["" : 13]>
          g (float[2, 4] x) => (float[2, 2] y)
          <float[4, 2] w = {1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9}>
          { y = MatMul(x, w) })",
       "quantize_weights: {weights: {min_elements: 1}}",
       {"DequantizeLinear", "MatMul"},
       0.1},
      {"an embedding table: the rows that are taken are dequantized, not the table",
       R"(<ir_version: 8, opset_import: ["" : 13]>
          g (int64[2] i) => (float[2, 4] y)
          <float[3, 4] table = {1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9, 0.2, 0.4, -0.6, 0.8}>
          { y = Gather(table, i) })",
       "quantize_weights: {weights: {min_elements: 1}}",
       {"Gather", "Cast", "Gather", "Mul"},
       0.02},
      {"an old opset is converted first; a Constant node becomes an initializer",
       R"(<ir_version: 4, opset_import: ["" : 9]>
          g (float[2, 4] x) => (float[2, 2] y)
          { w = Constant <value = float[4, 2] {1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9}> ()
            y = MatMul(x, w) })",
       "quantize_weights: {type: uint8, scheme: asymmetric, weights: {min_elements: 1}}",
       {"DequantizeLinear", "MatMul"},
       0.1},
  };
}

}  // namespace

void RegisterPass_quantize_weights(PassRegistry& registry) {
  registry.Add(std::make_unique<QuantizeWeightsPass>());
}

}  // namespace modelpress
