// Axes of Resize counted from the end, which the runtime cannot be given.
#pragma once

#include "absl/status/status.h"
#include "onnx/onnx_pb.h"

namespace modelpress {

// onnxruntime 1.21 uses negative `axes` of Resize (allowed since opset 18) as they are, as indices before the beginning of
// an array, and writes there. The nodes of `proto` (a copy made for the runtime, never what is written) get the same axes
// counted from the beginning, where the rank of the image is declared. OP_UNSUPPORTED, naming the node, where it is not.
absl::Status CountResizeAxesFromTheBeginning(onnx::ModelProto& proto);

}  // namespace modelpress
