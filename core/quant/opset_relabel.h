// Taking a model back to an older version of the default ONNX domain where only the number has to change.
#pragma once

#include <cstdint>

#include "core/model/model.h"

namespace modelpress {

// The versions after this one mostly added types, attributes and inputs to operators.
inline constexpr int64_t kOldestRelabelledOpset = 13;

// Sets the opset to `target`, at least kOldestRelabelledOpset and below the model's, if every node of the default domain is
// valid there as it is: the operator exists with these attributes, number of inputs and types, and means the same.
// Errors: OPSET_UNSUPPORTED with the first node that is not; the model is then as it was. O(skeleton).
absl::Status RelabelOpset(Model& model, int64_t target);

}  // namespace modelpress
