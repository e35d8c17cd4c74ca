// Sizes of a model: on disk, compressed, in elements.
#pragma once

#include "core/formats/format.h"
#include "modelpress/v1/report.pb.h"

namespace modelpress {

// Fills nodes, opset, inputs, outputs, parameters, nonzero_parameters, weight_bytes. A parameter is an element of a
// floating-point or quantized weight (8 bits or fewer read by DequantizeLinear), not of shape constants. Reads every
// weight byte once, in parallel (cancellable); with `count_nonzero` false reads none.
absl::StatusOr<ModelSummary> Summarise(const Model& model, bool count_nonzero,
                                       const JobContext& context);

// Bytes after zstd level 3 of the files together, streamed, one file after the other, in parallel frames of fixed
// 8 MiB input (so the number does not depend on the thread count).
absl::StatusOr<uint64_t> CompressedBytes(
    const std::vector<std::shared_ptr<const MappedFile>>& files, const JobContext& context);

}  // namespace modelpress
