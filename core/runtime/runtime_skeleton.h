// The bytes from which the runtime makes a session without copying weights.
#pragma once

#include <string>
#include <vector>

#include "core/model/model.h"

namespace modelpress {

// The skeleton with every weight as external data whose location is its file's descriptor number: the runtime, told that
// external data lies in /proc/self/fd, maps it from there. Only locations made here ever reach the runtime.
// `extra_outputs` are added to the main graph's outputs as float tensors; DATA_INVALID if the graph has no such value.
absl::StatusOr<std::string> RuntimeSkeleton(const Model& model,
                                            const std::vector<std::string>& extra_outputs);

}  // namespace modelpress
