// What an ONNX model must fulfil before anything else looks at it: versions, names, scopes, order.
#pragma once

#include "absl/status/status.h"
#include "onnx/onnx_pb.h"

namespace modelpress::onnx_format {

// The newest versions that the runtime (ONNX Runtime 1.21) and libonnx 1.17 know.
inline constexpr int64_t kMaxIrVersion = 10;
// The newest IR version whose additions are known (ONNX 1.20), so that their absence can be seen.
inline constexpr int64_t kNewestKnownIrVersion = 13;
inline constexpr int64_t kMaxOpset = 22;
inline constexpr int64_t kMaxMlOpset = 5;

// Checks the versions and brings old and new notations to the one that the rest of the program knows:
//   * an IR version above kMaxIrVersion is lowered if nothing of the newer versions is used;
//   * below IR 4 every initializer had to be listed as an input though it was a constant: those inputs go, and the
//     version becomes 4.
// OPSET_UNSUPPORTED with the remedy; MODEL_MALFORMED without version.
absl::Status NormaliseVersions(onnx::ModelProto* model);

// Names are unique within a graph, everything read is defined, no cycles; nodes that are merely out of order are sorted.
// Functions do not call themselves. What remains (attributes, numbers of inputs, operator schemas) is asked of libonnx's
// checker. MODEL_MALFORMED names the node or tensor and the rule.
absl::Status ValidateStructure(onnx::ModelProto* model);

}  // namespace modelpress::onnx_format
