// Weights of any format: see read_weights.h.
#include "core/formats/weights/read_weights.h"

#include <algorithm>
#include <map>
#include <set>

#include "core/base/format_string.h"
#include "core/formats/pytorch/checkpoint.h"
#include "core/formats/safetensors/header.h"
#include "core/formats/safetensors/shard_index.h"

namespace modelpress {

bool HoldsWeights(std::span<const std::byte> bytes) {
  return safetensors::LooksLikeSafetensors(bytes) || safetensors::LooksLikeIndex(bytes) ||
         pytorch::LooksLikeCheckpoint(bytes);
}

absl::StatusOr<std::vector<NamedTensor>> ReadWeights(const InputFile& main,
                                                     const std::vector<InputFile>& others,
                                                     const JobContext& context,
                                                     std::vector<std::string>* notes) {
  const std::span<const std::byte> bytes = main.file->bytes();
  if (safetensors::LooksLikeIndex(bytes)) return safetensors::ReadShards(main, others);
  if (safetensors::LooksLikeSafetensors(bytes)) {
    MP_ASSIGN_OR_RETURN(safetensors::Contents contents, safetensors::Read(main.file));
    return std::move(contents.tensors);
  }
  if (pytorch::LooksLikeCheckpoint(bytes)) {
    WeightArena arena(context.scratch);
    std::vector<std::string> found;
    MP_ASSIGN_OR_RETURN(
        std::vector<NamedTensor> tensors,
        pytorch::ReadCheckpoint({main.file, 0, main.file->size()}, arena, context.scratch,
                                notes == nullptr ? &found : notes));
    return tensors;
  }
  return Error(ERROR_REASON_FORMAT_UNSUPPORTED,
               FormatString("\"{}\" is no file of weights", main.name))
      .Remedy("send safetensors, an index of safetensors shards, or a PyTorch state dict");
}

std::vector<std::string> ShardNames(std::span<const std::byte> bytes) {
  if (!safetensors::LooksLikeIndex(bytes)) return {};
  const auto index = safetensors::ReadIndex(bytes);
  if (!index.ok()) return {};
  std::set<std::string> names;
  for (const auto& [tensor, file] : *index) names.insert(file);
  return {names.begin(), names.end()};
}

}  // namespace modelpress
