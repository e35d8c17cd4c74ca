// quantize_weights: weights as codes of 8 or fewer bits that are turned back into floats when the
// model runs.
//
//   W float32 [64, 32, 3, 3] --> Conv         W_quantized int8 [64, 32, 3, 3] --.
//                                             W_scale float32 [64] -------------+-->
//                                             DequantizeLinear --> W --> Conv
//
// int8, uint8: symmetric scale = 2 max|w| / (qmax - qmin) for each output channel, code =
// clip(round_half_even(w / scale)); asymmetric scale = (max - min) / (qmax - qmin), zero_point =
// round(qmin - min / scale). Source: ONNX Runtime's quantizer (quant_utils.py: compute_scale_zp,
// quantize_nparray), matched bit for bit; int8 uses -127..127. Embedding tables are dequantized row
// by row after the Gather (see code_weight.h).
//
// int4, uint4, int3, int2: one scale for each block of values along the axis that is summed over, by
// the methods of tile_kernels.h; DequantizeLinear with block_size or MatMulNBits (see
// block_weight.h).
//
// Activations stay float. A MatMul of 8-bit weights runs slower than in float, because the runtime
// expands the codes at every call; 4-bit ones have a kernel of their own.
#include <memory>

#include "core/base/status.h"
#include "core/passes/code_weights.h"
#include "core/passes/pass.h"
#include "core/quant/float_values.h"
#include "core/quant/weight_coding.h"

namespace modelpress {
namespace {

// Measured on one core; only for plans.
constexpr double kBytesPerSecond = 3e9;
constexpr double kLowBitBytesPerSecond = 5e8;

class QuantizeWeightsPass final : public Pass {
 public:
  std::string_view name() const override { return "quantize_weights"; }
  std::string_view summary() const override {
    return "weights to codes of 8, 4, 3 or 2 bits: 4x to 7x smaller, activations stay float";
  }

  absl::Status Validate(const PassStep& step) const override {
    MP_RETURN_IF_ERROR(ValidateCoding(step.quantize_weights()));
    return ValidateSelection(step.quantize_weights().weights(), "quantize_weights.weights");
  }

  PassEstimate Estimate(const Model& model, const PassStep& step) const override {
    const uint64_t bytes = WeightBytes(model);
    const auto type = step.quantize_weights().type();
    const bool low_bit =
        type > QuantizeWeights::TYPE_UINT8 || step.quantize_weights().block_size() != 0;
    // Codes are a quarter of float32 and half of float16; scales (an eighth with blocks of 16) and
    // alignment come to it.
    const uint64_t widened = LargestWidenedBytes(model);
    return {16 << 20, bytes / (widened > 0 ? 2 : 4) + bytes / 8 + widened + (1 << 20),
            static_cast<double>(bytes) / (low_bit ? kLowBitBytesPerSecond : kBytesPerSecond)};
  }

  absl::StatusOr<PassReport> Run(Model& model, const PassStep& step,
                                 PassContext& context) const override;
  std::vector<PassExample> examples() const override;
};

absl::StatusOr<PassReport> QuantizeWeightsPass::Run(Model& model, const PassStep& step,
                                                    PassContext& context) const {
  PassReport report;
  report.set_pass(std::string(name()));
  report.set_weight_bytes_before(WeightBytes(model));
  MP_RETURN_IF_ERROR(CodeWeights(model, step.quantize_weights(), context, &report));
  MP_RETURN_IF_ERROR(RequireChange(step, report));
  RemoveDead(model.mutable_proto());
  report.set_weight_bytes_after(WeightBytes(model));
  return report;
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
      {"4 bits, one scale for each 16 values of a column",
       R"(<ir_version: 8, opset_import: ["" : 13]>
          g (float[2, 4] x) => (float[2, 2] y)
          <float[16, 2] w = {1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9, 1, -0.5, 0.25, 2, -3, 0.1, 0.7,
           -0.9, 1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9, 1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9>,
           float[2, 4] k = {1, -1, 2, 0.5, 0.3, -0.2, 0.1, 0.4}>
          { t = Concat <axis = 1> (x, k, x, k)
            y = MatMul(t, w) })",
       "quantize_weights: {type: int4, block_size: 16, weights: {min_elements: 1}}",
       {"Concat", "DequantizeLinear", "MatMul"},
       3},
      {"4-bit codes as the runtime's own operators read them; a table stays one tensor",
       R"(<ir_version: 8, opset_import: ["" : 13]>
          g (int64[2] i) => (float[2, 3] y)
          <float[3, 16] table = {1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9, 1, -0.5, 0.25, 2, -3, 0.1,
           0.7, -0.9, 1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9, 0.2, 0.4, -0.6, 0.8, 1, -1, 0.5, -0.5,
           1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9, 1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9>,
           float[16, 3] w = {1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9, 1, -0.5, 0.25, 2, -3, 0.1, 0.7,
           -0.9, 1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9, 1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9,
           1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9, 1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9>>
          { h = Gather(table, i)
            y = MatMul(h, w) })",
       "quantize_weights: {type: uint4, block_size: 16, encoding: matmul_nbits, weights: "
       "{min_elements: 1}}",
       {"GatherBlockQuantized", "MatMulNBits"},
       3},
      {"2-bit codes in blocks on both readers of a shared table",
       R"(<ir_version: 10, opset_import: ["" : 21]>
          g (int64[2] i) => (float[2, 3] y)
          <float[3, 16] table = {1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9, 1, -0.5, 0.25, 2, -3, 0.1,
           0.7, -0.9, 1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9, 0.2, 0.4, -0.6, 0.8, 1, -1, 0.5, -0.5,
           1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9, 1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9>>
          { h = Gather(table, i)
            y = Gemm <transB = 1> (h, table) })",
       "quantize_weights: {type: int2, block_size: 16, method: hqq, weights: {min_elements: 1}}",
       {"GatherBlockQuantized", "DequantizeLinear", "Gemm"},
       30},
  };
}

}  // namespace

void RegisterPass_quantize_weights(PassRegistry& registry) {
  registry.Add(std::make_unique<QuantizeWeightsPass>());
}

}  // namespace modelpress
