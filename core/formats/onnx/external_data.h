// External data of an ONNX model: names of blobs that came with it, never paths.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "core/formats/format.h"
#include "core/model/model.h"
#include "onnx/onnx_pb.h"

namespace modelpress::onnx_format {

// "./a//b" -> "a/b". EXTERNAL_DATA_REJECTED for absolute names, "..", drive letters, backslashes, control characters
// and the empty name.
absl::StatusOr<std::string> NormaliseName(std::string_view name);

// The bytes that the tensor's external_data entries mean, among the job's sidecars. `expected` is what dims and type ask
// for; a missing length means that many. EXTERNAL_DATA_REJECTED says which blob is missing or which range does not exist.
absl::StatusOr<WeightRef> ResolveExternalData(const onnx::TensorProto& tensor, uint64_t expected,
                                              const InputFiles& files);

}  // namespace modelpress::onnx_format
