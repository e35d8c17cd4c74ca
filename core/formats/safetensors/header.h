// Reading safetensors (https://github.com/huggingface/safetensors, format section): eight bytes of header length, a JSON
// object that gives each tensor its dtype, shape and place, then the bytes, which stay where they are.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/mapped_file.h"
#include "core/formats/weights/named_tensor.h"

namespace modelpress::safetensors {

// "F32" and the like; kUndefined / "" for what the other side does not have.
DataType TypeOf(std::string_view name);
std::string_view NameOf(DataType type);

struct Contents {
  // In the order of their bytes.
  std::vector<NamedTensor> tensors;
  std::map<std::string, std::string> metadata;
};

// Whether the bytes begin as a safetensors file does.
bool LooksLikeSafetensors(std::span<const std::byte> bytes);
// MODEL_MALFORMED, naming the tensor, for headers that are not JSON, entries that overlap, leave the file or do not have
// the size of their shape, and bytes that belong to no tensor. Checked before anything is used; O(tensors).
absl::StatusOr<Contents> Read(const std::shared_ptr<const MappedFile>& file);

}  // namespace modelpress::safetensors
