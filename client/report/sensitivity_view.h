// The layers worth protecting, for people and for programs.
#pragma once

#include <string>

#include "core/passes/sensitivity.h"
#include "nlohmann/json.hpp"

namespace modelpress {

std::string RenderSensitivity(const Sensitivity& sensitivity);
nlohmann::ordered_json SensitivityJson(const Sensitivity& sensitivity);

}  // namespace modelpress
