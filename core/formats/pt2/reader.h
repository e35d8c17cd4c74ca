// The archive of an exported program (.pt2) -> Program.
//
// A ZIP archive in one of three layouts, all of them read without torch:
//   torch 2.1 to 2.7  serialized_exported_program.json, serialized_state_dict.pt, serialized_constants.pt
//   torch 2.8 on      models/<name>.json, data/weights/<name>_weights_config.json with raw storages beside it, and the
//                     same under data/constants
//   between them      models/<name>.json, data/weights/<name>.pt, data/constants/<name>.pt
// The .pt files are archives of torch.save (core/formats/pytorch/checkpoint.h).
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "core/base/job_context.h"
#include "core/base/mapped_file.h"
#include "core/formats/pt2/program.h"

namespace modelpress::pt2 {

bool LooksLikePt2(std::span<const std::byte> bytes);
// MODEL_MALFORMED, MODEL_LIMIT, OP_UNSUPPORTED (a call in a pickle), FORMAT_UNSUPPORTED (another schema, compiled
// packages). Weights stay in the file; those that do not lie in order are copied in order into scratch.
absl::StatusOr<Program> ReadProgram(const std::shared_ptr<const MappedFile>& file,
                                    const JobContext& context);

}  // namespace modelpress::pt2
