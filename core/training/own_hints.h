// Hints for a model that has the values of its teacher under the same names, where nobody gave any.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/job_context.h"
#include "core/model/model.h"
#include "core/training/training_data.h"
#include "modelpress/v1/recipe.pb.h"

namespace modelpress {

// Scratch that the values of all training samples may take.
inline constexpr uint64_t kOwnHintsBytes = 256 << 20;

// What follows the layers with weights (Conv, ConvTranspose, Gemm, MatMul) behind the activations, sums and poolings that
// alone read on: of these values at most six, spread evenly up to the last, and no more than fit into kOwnHintsBytes. Only
// float32 values that the targets of the training are computed from, with one shape of at most 512 channels in both models,
// and no outputs. Runs both over one sample; none where that fails.
std::vector<FeatureHint> OwnHints(const Model& teacher, const Model& model,
                                  const TrainingData& data, const JobContext& context);

}  // namespace modelpress
