// Weights that no integer kernel reads, stored as 8-bit codes all the same and decoded when the model
// is loaded: smaller, as fast as before. As many as the limits allow.
//
//   W float --> Conv                   W int8 --> Cast --> Mul (scales) --> Conv
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/measure/loss_limits.h"
#include "core/passes/pass.h"
#include "core/quant/affine.h"
#include "core/quant/progress.h"

namespace modelpress {

struct StoringOptions {
  // With the operator types whose weights are stored; tables are decoded row by row.
  WeightSelection selection;
  AffineRule rule;
  bool per_channel = true;
  LossLimits limits;
  // Of the model in float; null: nothing is measured.
  const LossMeter* meter = nullptr;
  // One of few samples, by which each weight is measured alone where the limits make that necessary.
  MakeLossMeter alone_meter;
};

struct StoredWeights {
  // A row for each weight that is stored.
  std::vector<Change> changes;
  // Weights that were selected and stay; those that cost too much have the reason loss_too_large.
  std::vector<v1::Skip> skips;
  // Every other floating-point constant.
  std::vector<v1::Skip> not_selected;
  // Of the model with them; absent if nothing is stored or measured.
  std::optional<ModelLoss> loss;
};

// Replaces the weights of `model`. Errors: those of reading weights and of LossMeter.
absl::StatusOr<StoredWeights> StoreWeights(Model& model, const StoringOptions& options,
                                           const WeightProgress::Sink& progress,
                                           PassContext& context);

}  // namespace modelpress
