// The plan of a model that was read already.
#pragma once

#include "core/base/status.h"
#include "core/model/model.h"

namespace modelpress::v1 {
class Plan;
class Recipe;
}  // namespace modelpress::v1

namespace modelpress {

// `model_bytes`: all its files together. The recipe is valid.
Plan PlanModel(const Model& model, uint64_t model_bytes, const Recipe& recipe);

}  // namespace modelpress
