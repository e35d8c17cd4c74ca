// Layers one by one: see sensitivity.h.
#include "core/passes/sensitivity.h"

#include <algorithm>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/passes/step_options.h"

namespace modelpress {
namespace {

class Measurement {
 public:
  Measurement(const Model& model, const DataSet* data, uint64_t seed, const JobContext& context)
      : model_(model), data_(data), seed_(seed), context_(context), arena_(context.scratch) {}

  absl::StatusOr<Sensitivity> Run(const Pass& pass, PassStep step, uint64_t max_samples,
                                  const std::function<void(double, std::string_view)>& progress) {
    MP_ASSIGN_OR_RETURN(meter_,
                        LossMeter::Make(model_, data_, max_samples, seed_, arena_, context_));
    Sensitivity result;
    result.samples = meter_->description();
    // The pass is to change what it is told, whatever that costs.
    if (LossLimits* limits = LimitsOf(&step)) limits->set_off(true);
    PassReport whole;
    MP_ASSIGN_OR_RETURN(result.all, Measure(pass, step, &whole));
    for (int i = 0; i < whole.changes_size(); ++i) {
      const Change& change = whole.changes(i);
      if (progress) progress(static_cast<double>(i) / whole.changes_size(), change.tensor());
      PassStep one = step;
      if (!SelectOnly(change.tensor(), change.node(), &one)) {
        return Error(ERROR_REASON_RECIPE_INVALID,
                     FormatString("{} cannot be limited to one layer", pass.name()))
            .With("pass", pass.name())
            .Remedy("choose a pass that selects weights or nodes, such as quantize_weights");
      }
      LayerSensitivity& layer = result.layers.emplace_back();
      layer.tensor = change.tensor();
      layer.node = change.node();
      if (change.has_sqnr_db()) layer.weight_sqnr_db = change.sqnr_db();
      if (change.has_bytes_before() && change.bytes_after() < change.bytes_before()) {
        layer.saved_bytes = change.bytes_before() - change.bytes_after();
      }
      PassReport alone;
      MP_ASSIGN_OR_RETURN(layer.loss, Measure(pass, one, &alone));
    }
    std::ranges::stable_sort(result.layers, {},
                             [](const LayerSensitivity& layer) { return layer.loss.sqnr_db; });
    return result;
  }

 private:
  absl::StatusOr<ModelLoss> Measure(const Pass& pass, const PassStep& step, PassReport* report) {
    MP_RETURN_IF_ERROR(context_.cancellation->Check());
    WeightArena arena(context_.scratch);  // gone with the copy
    Model copy = model_.Clone();
    PassContext context;
    context.job = &context_;
    context.original = &model_;
    context.data = data_;
    context.arena = &arena;
    context.seed = seed_;
    MP_ASSIGN_OR_RETURN(*report, pass.Run(copy, step, context));
    return meter_->Measure(copy);
  }

  const Model& model_;
  const DataSet* data_;
  const uint64_t seed_;
  const JobContext& context_;
  WeightArena arena_;
  std::unique_ptr<LossMeter> meter_;
};

}  // namespace

absl::StatusOr<Sensitivity> MeasureSensitivity(
    const Model& model, const PassStep& step, const DataSet* data, uint64_t max_samples,
    uint64_t seed, const JobContext& context,
    const std::function<void(double fraction, std::string_view layer)>& progress) {
  MP_ASSIGN_OR_RETURN(const Pass* pass, PassRegistry::Get().ForStep(step));
  MP_RETURN_IF_ERROR(pass->Validate(step));
  return Measurement(model, data, seed, context).Run(*pass, step, max_samples, progress);
}

}  // namespace modelpress
