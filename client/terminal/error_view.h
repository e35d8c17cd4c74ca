// Errors as people read them.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace modelpress {

//   error: raw_data has 12 bytes but dims [4] of float32 need 16
//     reason: MODEL_MALFORMED
//     tensor: fc.weight
//     what to do: export the model again
std::string RenderError(const absl::Status& status);

}  // namespace modelpress
