// Which layers a pass hurts most: each is changed alone, and the model measured.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/measure/model_loss.h"
#include "core/passes/pass.h"

namespace modelpress {

struct LayerSensitivity {
  std::string tensor;
  std::string node;
  // Of the layer's own weight, dB; absent where the pass does not know it.
  std::optional<double> weight_sqnr_db;
  // Bytes saved on this layer; absent where the pass does not know them.
  std::optional<uint64_t> saved_bytes;
  // Of the whole model with nothing but this layer changed.
  ModelLoss loss;
};

struct Sensitivity {
  // The layer that costs most first.
  std::vector<LayerSensitivity> layers;
  // Of the model with all of them changed.
  ModelLoss all;
  // What it was measured on.
  std::string samples;
};

// One measurement of the calibration samples for each layer. `step` is a pass that selects weights
// or nodes and needs nothing else of the recipe. Errors: those of the pass and of LossMeter;
// RECIPE_INVALID for a pass that cannot be limited to one layer.
absl::StatusOr<Sensitivity> MeasureSensitivity(
    const Model& model, const PassStep& step, const DataSet* data, uint64_t max_samples,
    uint64_t seed, const JobContext& context,
    const std::function<void(double fraction, std::string_view layer)>& progress);

}  // namespace modelpress
