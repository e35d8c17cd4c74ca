// Which layers quantize_dynamic may run in integers so that the model stays within limits.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/measure/loss_limits.h"
#include "core/quant/dynamic_layers.h"

namespace modelpress {

// Layers that share weights: taken or left together.
struct DynamicUnit {
  std::vector<const DynamicLayer*> layers;
  bool chosen = true;
  // Time in integers over time in float, where that was measured (convolution_speed.h).
  std::optional<double> time_ratio;
  // What the model loses when nothing but this unit runs in integers; only where the limits made it
  // necessary to know. `failure`: why the runtime does not run it.
  std::optional<ModelLoss> alone;
  std::string failure;
};

// Units of all layers whose weights are usable, in the order of the model. A weight that is not takes
// all its relations along. Pointers are into `found`.
std::vector<DynamicUnit> MakeDynamicUnits(const DynamicLayers& found,
                                          const std::vector<bool>& usable);

// Layers of the chosen units, in the order of the model.
std::vector<const DynamicLayer*> ChosenLayers(const std::vector<DynamicUnit>& units);

// Measures the model with all chosen units in integers. Where it then loses more than `limits`, each is
// measured alone by `alone_meter`, and the costliest, as few as will do, are no longer chosen. `progress` (may be
// null) is called with the share of units that were measured alone. Returns the loss of the choice;
// nothing is measured and returned where no unit is chosen. Errors: those of LossMeter.
absl::StatusOr<std::optional<ModelLoss>> ChooseDynamicUnits(
    const Model& model, const std::vector<DynamicWeight>& weights, const v1::LossLimits& limits,
    const LossMeter& meter, const MakeLossMeter& alone_meter, WeightArena& arena,
    const std::function<void(double fraction, std::string_view layer)>& progress,
    std::vector<DynamicUnit>* units);

}  // namespace modelpress
