// Files of torch.save: a ZIP archive with one pickle, which describes tensors, and their storages.
//
// Layout (PyTorch's serialization notes): <root>/data.pkl, <root>/data/<key> for each storage, <root>/byteorder. Storages
// are stored without compression, so that tensors are used where they lie.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/formats/weights/named_tensor.h"

namespace modelpress::pytorch {

// Whether the bytes are a ZIP archive that has an entry of that name below some folder, by its directory alone.
bool HasEntry(std::span<const std::byte> bytes, std::string_view name);
// Whether the bytes are an archive of torch.save, and no TorchScript or exported program.
bool LooksLikeCheckpoint(std::span<const std::byte> bytes);

// The tensors of an archive that lies in `archive`, named by their keys, those of nested dictionaries joined by dots. The
// wrapping of a training checkpoint ({"state_dict": {...}, "epoch": 3}) is looked through. `notes` says what was left out.
absl::StatusOr<std::vector<NamedTensor>> ReadCheckpoint(const WeightRef& archive,
                                                        WeightArena& arena, Scratch* scratch,
                                                        std::vector<std::string>* notes);

}  // namespace modelpress::pytorch
