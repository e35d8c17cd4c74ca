// The plan of a model that was read already.
#pragma once

#include "core/base/status.h"
#include "core/model/model.h"
#include "modelpress/v1/recipe.pb.h"
#include "modelpress/v1/report.pb.h"

namespace modelpress {

// `model_bytes`: all its files together. The recipe is valid.
Plan PlanModel(const Model& model, uint64_t model_bytes, const Recipe& recipe);

}  // namespace modelpress
