// Bytes of a TensorFlow Lite file to typed graphs.
#pragma once

#include "absl/status/statusor.h"
#include "core/base/mapped_file.h"
#include "core/formats/tflite/graph.h"

namespace modelpress::tflite {

// Whether the bytes carry the format's identifier.
bool LooksLikeTflite(std::span<const std::byte> bytes);

// Verifies the FlatBuffer, then everything that graph.h promises. O(file's tables), weights untouched.
// MODEL_MALFORMED, MODEL_LIMIT, EXTERNAL_DATA_REJECTED (weights in other files).
absl::StatusOr<SourceModel> ReadSource(std::shared_ptr<const MappedFile> file);

}  // namespace modelpress::tflite
