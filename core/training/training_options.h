// The options of a training: their defaults and their limits.
#pragma once

#include <cstdint>
#include <limits>
#include <string_view>

#include "core/base/status.h"
#include "modelpress/v1/recipe.pb.h"

namespace modelpress {

// RECIPE_INVALID with the field's path, which begins with `field` ("finetune.training").
absl::Status ValidateTraining(const Training& training, std::string_view field);
// With the defaults of recipe.proto filled in. `samples`: how many are trained on, where that is known already.
Training WithDefaults(Training training, uint64_t samples = std::numeric_limits<uint64_t>::max());

}  // namespace modelpress
