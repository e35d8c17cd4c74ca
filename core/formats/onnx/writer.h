// Writing ONNX: a Model to one file, or to a model file and a sidecar with its weights. Streams: memory is O(skeleton).
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/job_context.h"
#include "core/model/model.h"

namespace modelpress::v1 {
class ArtifactFile;
class Output;
}  // namespace modelpress::v1

namespace modelpress::onnx_format {

// Protobuf's limit for one message.
inline constexpr uint64_t kMaxInlineFileBytes = (uint64_t{1} << 31) - 1;

// See Format::Write. The sidecar is named "weights-<first 16 digits of its SHA-256>.data": a crash between the two
// renames leaves the old model beside its old sidecar. Bytes depend on the model only. Weights up to `inline_bytes` stay
// in the model file; tests set it to 0.
absl::StatusOr<std::vector<ArtifactFile>> WriteOnnx(const Model& model, const Output& options,
                                                    const std::string& folder,
                                                    const std::string& file_name,
                                                    const JobContext& context, double* sync_seconds,
                                                    uint64_t inline_bytes = kInlineBytes);

}  // namespace modelpress::onnx_format
