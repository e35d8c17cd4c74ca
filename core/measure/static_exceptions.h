// The layers that a statically quantized model has to leave in float.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/measure/loss_limits.h"
#include "core/measure/model_loss.h"
#include "core/measure/static_quantizer.h"

namespace modelpress {

struct StaticExceptions {
  std::vector<LayerForm> forms;
  ModelLoss loss;
  // For each layer, the noise (relative to the signal) that it alone adds to the outputs: measured,
  // or a share of what it was measured with (see noise_shares.h).
  std::vector<double> noise;
  // Models that were measured.
  int measurements = 0;
};

// All layers in integers lose more than `limits` allow: which stay in float? Those that add most noise
// for the work they would do in integers, the fewest that are enough, by bisection; then those that
// turn out to be harmless come back. Weights of layers that are left out are stored in codes all the
// same, the largest first, where `code_weights[i]` and as long as the limits hold.
//
//   own      each layer's own relative error
//   few      a meter on very few samples, for ranking
//   meter    judges
//
// O(log layers) measurements of `meter`, some tens of `few`. `failure` receives why a candidate did
// not run, if one did not. Errors: those of LossMeter.
absl::StatusOr<StaticExceptions> ChooseExceptions(
    const StaticQuantizer& quantizer, const std::vector<double>& own,
    const std::vector<bool>& code_weights, const v1::LossLimits& limits, const LossMeter& few,
    const LossMeter& meter, const std::function<void(double fraction)>& progress,
    std::string* failure);

}  // namespace modelpress
