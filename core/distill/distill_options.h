// The options of a distillation: their limits and defaults.
#pragma once

#include <cstdint>

#include "core/base/status.h"
#include "modelpress/v1/recipe.pb.h"

namespace modelpress {

// RECIPE_INVALID with the field's path.
absl::Status ValidateDistill(const Distill& options);

// With the defaults of recipe.proto.
double ShrinkOf(const Distill& options);
double ConfidenceOf(const Distill& options);
uint32_t MostStudentsOf(const Distill& options);

}  // namespace modelpress
