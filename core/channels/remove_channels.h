// Removing positions from a model: constants cut, shapes and the operators that state extents put
// right.
#pragma once

#include "absl/status/status.h"
#include "core/base/job_context.h"
#include "core/channels/dependency_groups.h"

namespace modelpress {

// `model`: the one that `shapes` and `kept` were made from, or a clone. Constants that lose
// positions get new bytes in `arena`; everything else refers to what it did. Pointers into the
// model become invalid. Errors: SCRATCH_FULL, MODEL_MALFORMED, cancellation; the model is then
// unusable.
absl::Status RemoveChannels(Model& model, const ValueShapes& shapes, const KeptPositions& kept,
                            WeightArena& arena, const JobContext& context);

}  // namespace modelpress
