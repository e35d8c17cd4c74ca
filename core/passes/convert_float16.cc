// convert_float16: a float32 graph to float16.
//
//   x float --> Conv (W float) --> Relu --> y float
//   x float --> Cast --> Conv (W float16) --> Relu --> Cast --> y float          (keep_io_types)
//
// Weights are rounded half to even to IEEE 754 binary16; finite values above 65504 become +-65504
// and those other than 0 below 2^-24 become +-2^-24, counted for each tensor. BatchNormalization is
// folded first: its variances often do not fit float16 (one of 9.8e7 in a text detector gave -7
// dB). Which nodes stay float32 is in half_graph.h.
//
// The artifact is half the size. On CPUs the runtime computes most of it in float32 with casts in
// between: it is not faster there.
#include <algorithm>
#include <memory>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/passes/pass.h"
#include "core/quant/batch_norm_folding.h"
#include "core/quant/function_inlining.h"
#include "core/quant/half_graph.h"
#include "core/quant/progress.h"
#include "core/quant/weight_selection.h"

namespace modelpress {
namespace {

// Measured on one core; only for plans.
constexpr double kBytesPerSecond = 5e8;

class ConvertFloat16Pass final : public Pass {
 public:
  std::string_view name() const override { return "convert_float16"; }
  std::string_view summary() const override {
    return "float32 graph to float16, BatchNormalization folded first: half the size";
  }
  absl::Status Validate(const PassStep& step) const override {
    const ConvertFloat16& options = step.convert_float16();
    for (const auto* list : {&options.exclude_op_types(), &options.exclude_nodes()}) {
      const std::string_view field =
          list == &options.exclude_nodes() ? "exclude_nodes" : "exclude_op_types";
      if (std::ranges::none_of(*list, [](const std::string& entry) { return entry.empty(); })) {
        continue;
      }
      const std::string path = FormatString("convert_float16.{}", field);
      return Error(ERROR_REASON_RECIPE_INVALID, path + " has an empty entry").With("field", path);
    }
    return absl::OkStatus();
  }
  PassEstimate Estimate(const Model& model, const PassStep&) const override {
    const uint64_t bytes = WeightBytes(model);
    // Folded weights are written as floats first.
    return {16 << 20, bytes + bytes / 2 + (1 << 20), static_cast<double>(bytes) / kBytesPerSecond};
  }
  absl::StatusOr<PassReport> Run(Model& model, const PassStep& step,
                                 PassContext& context) const override;
  std::vector<PassExample> examples() const override;
  std::vector<std::vector<PassStep>> tuning_candidates() const override {
    PassStep step;
    step.mutable_convert_float16();
    return {{step}};
  }
};

absl::StatusOr<PassReport> ConvertFloat16Pass::Run(Model& model, const PassStep& step,
                                                   PassContext& context) const {
  const ConvertFloat16& options = step.convert_float16();
  PassReport report;
  report.set_pass(std::string(name()));
  report.set_weight_bytes_before(WeightBytes(model));
  MP_RETURN_IF_ERROR(context.job->cancellation->Check());
  InlineFunctions(model, report.mutable_notes());
  MP_ASSIGN_OR_RETURN(const BatchNormFolding folding,
                      FoldBatchNorms(model, *context.arena, *context.job));
  if (!folding.changes.empty()) {
    *report.add_notes() =
        FormatString("{} BatchNormalization nodes were folded first", folding.changes.size());
  }
  HalfOptions half;
  half.keep_io_types = !options.has_keep_io_types() || options.keep_io_types();
  half.keep_float = [&](const onnx::NodeProto& node) {
    const auto& ops = options.exclude_op_types();
    return std::ranges::find(ops, node.op_type()) != ops.end() ||
           std::ranges::any_of(options.exclude_nodes(), [&](const std::string& glob) {
             return GlobMatches(glob, node.name());
           });
  };
  WeightProgress progress(context.progress, WeightBytes(model));
  MP_ASSIGN_OR_RETURN(HalfGraph converted, ConvertGraphToHalf(model, half, *context.arena,
                                                              *context.job, progress.callback()));
  for (Change& change : converted.changes) *report.add_changes() = std::move(change);
  for (Skip& skip : converted.skips) *report.add_skips() = std::move(skip);
  std::string kept;
  for (const auto& [op, count] : converted.float_operators) {
    kept += FormatString("{}{} x {}", kept.empty() ? "" : ", ", count, op);
  }
  if (!kept.empty()) *report.add_notes() = "stayed in float32: " + kept;
  *report.add_notes() = FormatString("{} Casts were added", converted.casts);
  MP_RETURN_IF_ERROR(RequireChange(step, report));
  RemoveDead(model.mutable_proto());
  report.set_weight_bytes_after(WeightBytes(model));
  return report;
}

std::vector<PassExample> ConvertFloat16Pass::examples() const {
  return {
      {"inputs and outputs keep their type",
       R"(<ir_version: 8, opset_import: ["" : 13]>
          g (float[2, 4] x) => (float[2, 2] y)
          <float[4, 2] w = {1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9}>
          { h = MatMul(x, w)
            y = Relu(h) })",
       "convert_float16: {}",
       {"Cast", "MatMul", "Relu", "Cast"},
       0.02},
      {"a node that was excluded computes in float32, between Casts",
       R"(<ir_version: 8, opset_import: ["" : 13]>
          g (float[2, 4] x) => (float[2, 2] y)
          <float[4, 2] w = {1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9}>
          { h = MatMul(x, w)
            s = Softmax(h)
            y = Add(s, h) })",
       "convert_float16: {exclude_op_types: [Softmax]}",
       {"Cast", "MatMul", "Cast", "Softmax", "Cast", "Add", "Cast"},
       0.02},
      {"the branches of an If change too",
       R"(<ir_version: 8, opset_import: ["" : 13]>
          g (bool c, float[2] x) => (float[2] y)
          <float[2] w = {1.5, -0.5}>
          { y = If (c) <
              then_branch = t () => (float[2] a) { a = Mul(x, w) },
              else_branch = e () => (float[2] b) { b = Add(x, w) }> })",
       "convert_float16: {}",
       {"If", "Cast"},
       0.01},
  };
}

}  // namespace

void RegisterPass_convert_float16(PassRegistry& registry) {
  registry.Add(std::make_unique<ConvertFloat16Pass>());
}

}  // namespace modelpress
