// A real conversion of a model to another version of the default ONNX domain.
#pragma once

#include <cstdint>

#include "core/model/model.h"

namespace modelpress {

// The runtime's newest (ONNX Runtime 1.21), and the oldest that libonnx's converter was made for.
inline constexpr int64_t kOldestOpset = 7;
inline constexpr int64_t kNewestOpset = 22;

// Converts in place with libonnx's version converter, which drops external data: it is given a
// skeleton whose weights are graph inputs, and they are put back afterwards. Weights of subgraphs
// become initializers of the main graph (visible in every subgraph), under the same name where that
// is unique. Checks that no node, name or weight was lost.
//
// Errors: OPSET_UNSUPPORTED for targets that libonnx or the runtime does not have, for models with
// functions and for operators that the converter cannot bring to the target (the node's operator
// and the converter's reason are said). On failure the model is as it was. Not thread-safe;
// O(skeleton).
absl::Status ConvertDefaultDomain(Model& model, int64_t target);

}  // namespace modelpress
