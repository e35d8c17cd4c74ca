// Reading ONNX: bytes of a file to a Model, weights left where they are.
#pragma once

#include "absl/status/statusor.h"
#include "core/base/job_context.h"
#include "core/formats/format.h"
#include "core/model/model.h"

namespace modelpress::onnx_format {

// Whether the bytes are laid out as an ONNX ModelProto. Looks at top-level tags only; a truncated file still counts, so
// that its error can say so.
bool LooksLikeOnnx(std::span<const std::byte> bytes);

// See Format::Read. `context.scratch` takes the tensors that cannot be mapped.
// Tensors of more than `inline_bytes` become weights; tests set it to 0.
absl::StatusOr<Model> ReadOnnx(const InputFiles& files, const JobContext& context,
                               uint64_t inline_bytes = kInlineBytes);

}  // namespace modelpress::onnx_format
