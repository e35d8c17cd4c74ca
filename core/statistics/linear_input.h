// The value that a weight is multiplied with: where the Gram of its rows is to be gathered.
#pragma once

#include <optional>
#include <vector>

#include "core/model/graph.h"
#include "core/model/value_key.h"
#include "core/quant/weight_selection.h"

namespace modelpress {

// The x of y = x W, with the rows of x on its last axis, where `weight` is the W of a MatMul or a
// Gemm. Nothing if nobody multiplies with it so, or readers multiply different values with it.
std::optional<ValueKey> LinearInput(const GraphIndex& index, const GraphPaths& paths,
                                    const CandidateWeight& weight);

// The mean square of each channel of a value that a LayerNormalization makes, where its inputs are
// normal: scale^2 + bias^2. Empty for other values.
std::vector<float> NormalizedEnergy(const Model& model, const GraphIndex& index,
                                    const CandidateWeight& weight);

}  // namespace modelpress
