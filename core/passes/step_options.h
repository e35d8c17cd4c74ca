// Options that several passes have under the same name, found in any step.
#pragma once

#include <string>
#include <string_view>

#include "core/passes/pass.h"

namespace modelpress {

// The step's options of that kind, made if they are not set; null if the pass has none.
LossLimits* LimitsOf(PassStep* step);                // `limits`
WeightSelection* WeightSelectionOf(PassStep* step);  // `weights`

// Limits the step to one layer: by the tensor where the pass selects weights, by the node where it
// selects nodes (`include`). False if the pass can do neither.
bool SelectOnly(std::string_view tensor, std::string_view node, PassStep* step);

// A glob that matches this name and no other.
std::string ExactGlob(std::string_view name);

}  // namespace modelpress
