// The options of a training: their defaults and their limits.
#pragma once

#include <string_view>

#include "core/base/status.h"
#include "modelpress/v1/recipe.pb.h"

namespace modelpress {

// RECIPE_INVALID with the field's path, which begins with `field` ("finetune.training").
absl::Status ValidateTraining(const Training& training, std::string_view field);
// With the defaults of recipe.proto filled in.
Training WithDefaults(Training training);

}  // namespace modelpress
