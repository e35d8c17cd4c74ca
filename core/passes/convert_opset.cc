// convert_opset: a real conversion to another version of the default ONNX domain.
//
//   opset 9:  Dropout (ratio=0.5), Slice (starts, ends as attributes), ...
//   opset 13: Dropout (x, ratio), Slice (x, starts, ends, axes), ...
//
// By libonnx's version converter, one adapter for each operator and version step; back from the
// newest versions by rules of our own (opset_lowering.h). Weights stay in their files (see
// opset_conversion.h). Where no adapter exists the pass refuses, instead of
// changing the number alone.
#include <memory>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/passes/pass.h"
#include "core/quant/opset_conversion.h"
#include "core/quant/weight_selection.h"

namespace modelpress {
namespace {

class ConvertOpsetPass final : public Pass {
 public:
  std::string_view name() const override { return "convert_opset"; }
  std::string_view summary() const override {
    return "another version of the default ONNX domain, converted operator by operator";
  }
  absl::Status Validate(const PassStep& step) const override {
    const uint32_t version = step.convert_opset().version();
    if (version >= kOldestOpset && version <= kNewestOpset) return absl::OkStatus();
    return Error(ERROR_REASON_RECIPE_INVALID,
                 FormatString("convert_opset.version is {}, must be {} to {}", version,
                              kOldestOpset, kNewestOpset))
        .With("field", "convert_opset.version");
  }
  PassEstimate Estimate(const Model&, const PassStep&) const override { return {32 << 20, 0, 0.1}; }
  absl::Status Apply(Model& model, const PassStep& step, PassContext&,
                     PassReport& report) const override {
    const int64_t from = model.opset();
    const int64_t to = step.convert_opset().version();
    SeparateInitializersFromInputs(model);
    MP_RETURN_IF_ERROR(ConvertDefaultDomain(model, to));
    if (from != to) {
      report.add_changes()->set_what(FormatString("opset {} to {}", from, to));
    }
    return absl::OkStatus();
  }
  std::vector<PassExample> examples() const override {
    return {
        {"attributes become inputs",
         R"(<ir_version: 4, opset_import: ["" : 9]>
            g (float[2, 4] x) => (float[2, 2] y)
            { y = Slice <starts = [0, 1], ends = [2, 3]> (x) })",
         "convert_opset: {version: 13}",
         {"Constant", "Constant", "Slice"},
         0},
        {"nothing but the number changes where the operator did not",
         R"(<ir_version: 8, opset_import: ["" : 13]>
            g (float[2, 4] x) => (float[2, 2] y)
            <float[4, 2] w = {1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9}>
            { y = MatMul(x, w) })",
         "convert_opset: {version: 17}",
         {"MatMul"},
         0},
    };
  }
};

}  // namespace

void RegisterPass_convert_opset(PassRegistry& registry) {
  registry.Add(std::make_unique<ConvertOpsetPass>());
}

}  // namespace modelpress
