// The runtime's messages as typed errors.
#pragma once

#include <string_view>

#include "absl/status/status.h"

namespace modelpress {

// Why a model did not load: OP_UNSUPPORTED (with op and node where the message names them), OPSET_UNSUPPORTED or
// MODEL_MALFORMED.
absl::Status LoadError(std::string_view message);
// Why a loaded model did not run: RUNTIME_FAILED with the node where the message names it.
absl::Status RunError(std::string_view message);

}  // namespace modelpress
