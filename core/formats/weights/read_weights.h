// Weights of any format that holds them without a graph: safetensors, one file or several with an index, and PyTorch
// checkpoints.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/job_context.h"
#include "core/formats/format.h"
#include "core/formats/weights/named_tensor.h"

namespace modelpress {

// Whether the file holds weights and nothing else.
bool HoldsWeights(std::span<const std::byte> bytes);
// The tensors of `main`; an index names its shards among `others`. MODEL_MALFORMED, OP_UNSUPPORTED, MODEL_LIMIT, and
// FORMAT_UNSUPPORTED for other files. `notes` says what was left out.
absl::StatusOr<std::vector<NamedTensor>> ReadWeights(const InputFile& main,
                                                     const std::vector<InputFile>& others,
                                                     const JobContext& context,
                                                     std::vector<std::string>* notes);
// Names of the files that an index of safetensors shards asks for; empty for everything else.
std::vector<std::string> ShardNames(std::span<const std::byte> bytes);

}  // namespace modelpress
