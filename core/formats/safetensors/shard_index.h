// The index of a model's safetensors shards (model.safetensors.index.json of the transformers library): an object with
// "weight_map", which says for each tensor in which file it is.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/formats/format.h"
#include "core/formats/weights/named_tensor.h"

namespace modelpress::safetensors {

bool LooksLikeIndex(std::span<const std::byte> bytes);
// Tensor -> file. MODEL_MALFORMED if it is no such index or a file's name is no plain relative path.
absl::StatusOr<std::map<std::string, std::string>> ReadIndex(std::span<const std::byte> bytes);
// The tensors of all shards. MODEL_MALFORMED names what is not as the index says: shards that are not there, tensors that
// are not in their shard, in two of them, or in one without being in the index.
absl::StatusOr<std::vector<NamedTensor>> ReadShards(const InputFile& index,
                                                    const std::vector<InputFile>& shards);

}  // namespace modelpress::safetensors
