// Writing the weights of a model as safetensors.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/job_context.h"
#include "core/model/model.h"

namespace modelpress::v1 {
class ArtifactFile;
}  // namespace modelpress::v1

namespace modelpress::safetensors {

// Initializers of every graph and the values of Constant nodes under their names, metadata_props as metadata. Tensors
// lie by width of their elements, then by name, so that each is aligned. Streams; see Format::Write. OP_UNSUPPORTED names
// tensors of types that safetensors does not have.
absl::StatusOr<std::vector<ArtifactFile>> Write(const Model& model, const std::string& folder,
                                                const std::string& file_name,
                                                const JobContext& context, double* sync_seconds);

}  // namespace modelpress::safetensors
