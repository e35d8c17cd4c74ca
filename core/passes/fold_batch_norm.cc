// fold_batch_norm: BatchNormalization into the Conv, ConvTranspose, Gemm or MatMul before it.
//
//   x --> Conv (W, b) --> BatchNormalization (scale, B, mean, variance) --> y
//   x --> Conv (a W, a (b - mean) + B) --> y             a = scale / sqrt(variance + epsilon)
//
// Source: the definition of BatchNormalization in the ONNX operator set (inference form); see also
// Jacob et al., "Quantization and training of neural networks" (2018), section 3.2. Exact up to
// float rounding.
#include <memory>

#include "core/passes/pass.h"
#include "core/quant/batch_norm_folding.h"
#include "core/quant/function_inlining.h"
#include "core/quant/weight_selection.h"

namespace modelpress {
namespace {

class FoldBatchNormPass final : public Pass {
 public:
  std::string_view name() const override { return "fold_batch_norm"; }
  std::string_view summary() const override {
    return "BatchNormalization into the linear operator before it: fewer nodes, same function";
  }
  bool needs_float_weights() const override { return true; }
  absl::Status Validate(const PassStep&) const override { return absl::OkStatus(); }
  PassEstimate Estimate(const Model& model, const PassStep&) const override {
    const uint64_t bytes = WeightBytes(model);
    return {4 << 20, bytes + (1 << 20), static_cast<double>(bytes) / 1e9};
  }
  absl::Status Apply(Model& model, const PassStep&, PassContext& context,
                     PassReport& report) const override {
    InlineFunctions(model, report.mutable_notes());
    MP_ASSIGN_OR_RETURN(BatchNormFolding folding,
                        FoldBatchNorms(model, *context.arena, *context.job));
    for (Change& change : folding.changes) *report.add_changes() = std::move(change);
    for (Skip& skip : folding.skips) *report.add_skips() = std::move(skip);
    return absl::OkStatus();
  }
  std::vector<PassExample> examples() const override {
    return {
        {"into a Conv without a bias",
         R"(<ir_version: 8, opset_import: ["" : 13]>
            g (float[1, 1, 4, 4] x) => (float[1, 2, 4, 4] y)
            <float[2, 1, 1, 1] w = {0.5, -2}, float[2] s = {1, 2}, float[2] b = {0, 1},
             float[2] m = {0.1, -0.1}, float[2] v = {4, 0.25}>
            { h = Conv(x, w)
              y = BatchNormalization(h, s, b, m, v) })",
         "fold_batch_norm: {}",
         {"Conv"},
         1e-5},
        {"into a MatMul, which gets an Add; after a Relu it stays",
         R"(<ir_version: 8, opset_import: ["" : 13]>
            g (float[3, 2] x) => (float[3, 2] y)
            <float[2, 2] w = {0.5, -2, 1, 3}, float[2] s = {1, 2}, float[2] b = {0, 1},
             float[2] m = {0.1, -0.1}, float[2] v = {4, 0.25}>
            { h = MatMul(x, w)
              n = BatchNormalization(h, s, b, m, v)
              r = Relu(n)
              y = BatchNormalization(r, s, b, m, v) })",
         "fold_batch_norm: {}",
         {"MatMul", "Add", "Relu", "BatchNormalization"},
         1e-5},
    };
  }
};

}  // namespace

void RegisterPass_fold_batch_norm(PassRegistry& registry) {
  registry.Add(std::make_unique<FoldBatchNormPass>());
}

}  // namespace modelpress
