// simplify: what a graph computes in a roundabout way, directly. Results do not change and the file does not grow.
//
//   Constant nodes                                --> initializers, equal ones once
//   nodes that are computed from constants alone  --> their result, up to a size
//   Identity, Dropout, Cast twice, Concat of one  --> nothing
//   Transpose - Relu - Concat - Transpose         --> Relu - Concat along the other axis (see core/rewrite/layout.h)
//   Reshape - Reshape, Expand - Add and the like  --> one of them (see core/rewrite/merge_views.h)
//   what nobody reads                             --> nothing
//
// A step that would make the model larger is taken back.
#include <memory>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/passes/pass.h"
#include "core/quant/weight_selection.h"
#include "core/rewrite/clean_up.h"
#include "core/rewrite/layout.h"
#include "core/rewrite/merge_views.h"
#include "core/runtime/fold_constants.h"

namespace modelpress {
namespace {

constexpr uint64_t kFoldBytes = 1 << 16;
// Softmax and others count their axes differently before.
constexpr int64_t kOldestLayoutOpset = 13;

// Bytes that the model takes when it is written.
uint64_t Size(const Model& model) { return model.proto().ByteSizeLong() + WeightBytes(model); }

int CountTransposes(const Model& model) {
  int count = 0;
  ForEachGraph(model.proto(), [&](const onnx::GraphProto& graph, int) {
    for (const onnx::NodeProto& node : graph.node()) count += node.op_type() == "Transpose" ? 1 : 0;
  });
  return count;
}

void Report(const std::vector<CleanUp>& done, PassReport* report) {
  for (const CleanUp& step : done) {
    Change& change = *report->add_changes();
    change.set_node(step.node);
    change.set_tensor(step.tensor);
    change.set_what(step.what);
  }
}

class SimplifyPass final : public Pass {
 public:
  std::string_view name() const override { return "simplify"; }
  std::string_view summary() const override {
    return "constants folded and merged, Transposes cancelled, nodes without effect removed: same "
           "results, fewer nodes";
  }
  absl::Status Validate(const PassStep&) const override { return absl::OkStatus(); }
  PassEstimate Estimate(const Model& model, const PassStep&) const override {
    const uint64_t bytes = WeightBytes(model);
    return {64 << 20, bytes + (1 << 20), 0.2 + static_cast<double>(bytes) / 5e8};
  }

  absl::Status Apply(Model& model, const PassStep& step, PassContext& context,
                     PassReport& report) const override {
    const Cancellation& cancellation = *context.job->cancellation;
    const uint64_t cap =
        step.simplify().has_max_folded_bytes() ? step.simplify().max_folded_bytes() : kFoldBytes;
    SeparateInitializersFromInputs(model);
    MP_RETURN_IF_ERROR(cancellation.Check());
    Report(MoveConstantsToInitializers(model), &report);
    Report(RemoveIdentities(model), &report);
    MP_RETURN_IF_ERROR(Fold(model, cap, context, &report));
    if (context.progress) context.progress(0.5, "layout");
    MP_RETURN_IF_ERROR(cancellation.Check());
    MP_RETURN_IF_ERROR(Views(model, context, &report));
    MP_RETURN_IF_ERROR(Layout(model, context, &report));
    MP_RETURN_IF_ERROR(cancellation.Check());
    MP_ASSIGN_OR_RETURN(const std::vector<CleanUp> merged, MergeEqualConstants(model));
    Report(merged, &report);
    const int removed = RemoveDead(model.mutable_proto());
    if (removed > 0)
      report.add_changes()->set_what(
          FormatString("{} unread nodes and constants removed", removed));
    return absl::OkStatus();
  }

  std::vector<PassExample> examples() const override {
    return {
        {"constants are computed once, and an Identity goes",
         R"(<ir_version: 8, opset_import: ["" : 17]>
            g (float[2, 3] x) => (float[2, 3] y)
            <float[3] a = {1, 2, 3}, float[3] b = {4, 5, 6}>
            { s = Add(a, b)
              i = Identity(x)
              y = Mul(i, s) })",
         "simplify: {}",
         {"Mul"},
         0},
        {"Transposes around elementwise operators cancel",
         R"(<ir_version: 8, opset_import: ["" : 17]>
            g (float[1, 2, 3, 4] x) => (float[1, 2, 3, 4] y) <float[2] v = {1, -1}>
            { a = Transpose <perm = [0, 2, 3, 1]> (x)
              b = Add(a, v)
              c = Relu(b)
              y = Transpose <perm = [0, 3, 1, 2]> (c) })",
         "simplify: {}",
         {"Add", "Relu"},
         0},
        {"views next to each other are one, and Expand before a broadcast goes",
         R"(<ir_version: 8, opset_import: ["" : 17]>
            g (float[2, 6] x, float[2, 1, 3] z) => (float[2, 2, 3] y)
            <int64[3] s = {2, 3, 2}, int64[3] t = {2, 2, 3}>
            { a = Reshape(x, s)
              b = Reshape(a, t)
              c = Expand(z, t)
              y = Add(b, c) })",
         "simplify: {}",
         {"Reshape", "Add"},
         0},
        {"equal constants become one",
         R"(<ir_version: 8, opset_import: ["" : 17]>
            g (float[2] x) => (float[2] y) <float[2] a = {1, 2}, float[2] b = {1, 2}>
            { h = Add(x, a)
              y = Mul(h, b) })",
         "simplify: {}",
         {"Add", "Mul"},
         0},
    };
  }

 private:
  static absl::Status Fold(Model& model, uint64_t cap, PassContext& context, PassReport* report) {
    Model before = model.Clone();
    const uint64_t size = Size(model);
    MP_ASSIGN_OR_RETURN(const FoldedConstants folded, FoldConstants(model, cap, *context.arena));
    RemoveDead(model.mutable_proto());
    if (Size(model) > size && !folded.folded.empty()) {
      model = std::move(before);
      for (const FoldedValue& value : folded.folded) Skipped(value, report);
      return absl::OkStatus();
    }
    for (const FoldedValue& value : folded.folded) {
      Change& change = *report->add_changes();
      change.set_node(value.node);
      change.set_tensor(value.value);
      change.set_what(FormatString("computed at once, {} bytes", value.bytes));
    }
    for (const FoldedValue& value : folded.too_large) Skipped(value, report);
    return absl::OkStatus();
  }

  static void Skipped(const FoldedValue& value, PassReport* report) {
    *report->add_skips() =
        MakeSkip(SkipReason::kWouldGrow, value.value, value.node,
                 FormatString("{} bytes, more than what it is computed from", value.bytes));
  }

  static absl::Status Views(Model& model, PassContext& context, PassReport* report) {
    Model kept = model.Clone();
    const uint64_t size = Size(model);
    MP_ASSIGN_OR_RETURN(const int merged, MergeViews(model, *context.arena));
    if (merged == 0 || Size(model) > size) {
      model = std::move(kept);
    } else {
      report->add_changes()->set_what(
          FormatString("{} views merged with their neighbours", merged));
    }
    return absl::OkStatus();
  }

  static absl::Status Layout(Model& model, PassContext& context, PassReport* report) {
    const int before = CountTransposes(model);
    if (before == 0) return absl::OkStatus();
    if (model.opset() < kOldestLayoutOpset) {
      report->add_notes(
          FormatString("Transposes are left as they are below opset {}", kOldestLayoutOpset));
      return absl::OkStatus();
    }
    Model kept = model.Clone();
    const uint64_t size = Size(model);
    MP_RETURN_IF_ERROR(OptimizeLayout(model, *context.arena, *context.job));
    RemoveDead(model.mutable_proto());
    const int after = CountTransposes(model);
    if (after >= before || Size(model) > size) {
      model = std::move(kept);
    } else {
      report->add_changes()->set_what(
          FormatString("{} of {} Transposes cancelled", before - after, before));
    }
    return absl::OkStatus();
  }
};

}  // namespace

void RegisterPass_simplify(PassRegistry& registry) {
  registry.Add(std::make_unique<SimplifyPass>());
}

}  // namespace modelpress
