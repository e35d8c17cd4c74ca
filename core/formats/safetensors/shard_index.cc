// The index of safetensors shards: see shard_index.h.
#include "core/formats/safetensors/shard_index.h"

#include <algorithm>
#include <set>
#include <utility>

#include "core/base/format_string.h"
#include "core/formats/onnx/external_data.h"
#include "core/formats/safetensors/header.h"
#include "core/formats/weights/json_text.h"

namespace modelpress::safetensors {
namespace {

constexpr size_t kMaxIndexBytes = size_t{64} << 20;

std::string_view Text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

absl::Status Disagree(std::string_view tensor, std::string_view what) {
  return Error(ERROR_REASON_MODEL_MALFORMED,
               FormatString("shards disagree with their index: {}", what))
      .Tensor(tensor);
}

}  // namespace

bool LooksLikeIndex(std::span<const std::byte> bytes) {
  const std::string_view text = Text(bytes);
  const size_t first = text.find_first_not_of(" \t\r\n");
  return bytes.size() <= kMaxIndexBytes && first != std::string_view::npos && text[first] == '{' &&
         text.contains("\"weight_map\"");
}

absl::StatusOr<std::map<std::string, std::string>> ReadIndex(std::span<const std::byte> bytes) {
  MP_ASSIGN_OR_RETURN(const nlohmann::json json,
                      ParseJson(Text(bytes), "the index of shards", nullptr, /*unique_keys=*/true));
  if (!json.is_object() || !json.contains("weight_map") || !json["weight_map"].is_object()) {
    return Error(ERROR_REASON_MODEL_MALFORMED, "the index of shards has no weight_map");
  }
  std::map<std::string, std::string> files;
  for (const auto& [tensor, file] : json["weight_map"].items()) {
    if (!file.is_string()) return Disagree(tensor, FormatString("'{}' names no file", tensor));
    const absl::StatusOr<std::string> name = onnx_format::NormaliseName(file.get<std::string>());
    if (!name.ok()) {
      return Disagree(tensor, FormatString("'{}' is in '{}', which is no plain relative path",
                                           tensor, file.get<std::string>()));
    }
    files[tensor] = *name;
  }
  return files;
}

absl::StatusOr<std::vector<NamedTensor>> ReadShards(const InputFile& index,
                                                    const std::vector<InputFile>& shards) {
  MP_ASSIGN_OR_RETURN(const auto files, ReadIndex(index.file->bytes()));
  std::set<std::string> names;
  for (const auto& [tensor, file] : files) names.insert(file);
  std::vector<NamedTensor> tensors;
  std::set<std::string> seen;
  for (const std::string& name : names) {
    const auto shard = std::ranges::find(shards, name, &InputFile::name);
    if (shard == shards.end()) {
      return Error(ERROR_REASON_MODEL_MALFORMED,
                   FormatString("the index names the shard '{}', which is not there", name))
          .With("file", name)
          .Remedy("send it beside the index, under that name");
    }
    MP_ASSIGN_OR_RETURN(Contents contents, Read(shard->file));
    for (NamedTensor& tensor : contents.tensors) {
      const auto place = files.find(tensor.name);
      if (place == files.end()) {
        return Disagree(tensor.name,
                        FormatString("'{}' of '{}' is not in the index", tensor.name, name));
      }
      if (place->second != name) {
        return Disagree(tensor.name, FormatString("'{}' is in '{}', not in '{}'", tensor.name, name,
                                                  place->second));
      }
      seen.insert(tensor.name);
      tensors.push_back(std::move(tensor));
    }
  }
  for (const auto& [tensor, file] : files) {
    if (!seen.contains(tensor)) {
      return Disagree(tensor, FormatString("'{}' is not in '{}'", tensor, file));
    }
  }
  return tensors;
}

}  // namespace modelpress::safetensors
