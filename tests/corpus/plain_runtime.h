// ONNX Runtime as anybody would call it: the model's own bytes, nothing of ours in between. What modelpress makes of a
// model is held against this.
#pragma once

#include <string>
#include <string_view>

#include "core/runtime/session.h"

namespace modelpress::testing {

// Runs the serialised model once. Errors carry the runtime's message. Only tensors come back.
absl::StatusOr<TensorMap> RunPlain(std::string_view model, const TensorMap& inputs);
// The same with a model file, whose external data the runtime finds beside it.
absl::StatusOr<TensorMap> RunPlainFile(const std::string& path, const TensorMap& inputs);

}  // namespace modelpress::testing
