// The bytes from which the runtime makes a session without copying weights.
#pragma once

#include <string>
#include <vector>

#include "core/model/model.h"
#include "core/model/value_key.h"

namespace modelpress {

// The skeleton with every weight as external data whose location is its file's descriptor number: the runtime, told that
// external data lies in /proc/self/fd, maps it from there. Only locations made here ever reach the runtime.
// Tap i gets an Observe operator with tap = i where the value is made (see observe_operator.h); DATA_INVALID if its
// graph neither makes it nor has it as an input.
absl::StatusOr<std::string> RuntimeSkeleton(const Model& model, const std::vector<ValueKey>& taps);

}  // namespace modelpress
