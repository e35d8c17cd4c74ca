// The work of quantize_weights: versions, calibration, budget, codes, rewriting.
#pragma once

#include "core/passes/pass.h"

namespace modelpress {

// Codes every selected weight of the model by the options; every candidate ends as a change or a
// skip of the report. Where the opset cannot be raised to what DequantizeLinear needs, MatMuls become
// MatMulNBits and the conversion's error is returned only if nothing at all could be coded.
absl::Status CodeWeights(Model& model, const QuantizeWeights& options, PassContext& context,
                         PassReport* report);

}  // namespace modelpress
