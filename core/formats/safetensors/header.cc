// Reading safetensors: see header.h.
#include "core/formats/safetensors/header.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/base/format_string.h"
#include "core/formats/weights/json_text.h"

namespace modelpress::safetensors {
namespace {

// The reference implementation takes no longer headers.
constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr size_t kMaxRank = 64;

constexpr std::pair<std::string_view, DataType> kTypes[] = {
    {"F64", DataType::kDouble},         {"F32", DataType::kFloat},
    {"F16", DataType::kFloat16},        {"BF16", DataType::kBfloat16},
    {"I64", DataType::kInt64},          {"I32", DataType::kInt32},
    {"I16", DataType::kInt16},          {"I8", DataType::kInt8},
    {"U64", DataType::kUint64},         {"U32", DataType::kUint32},
    {"U16", DataType::kUint16},         {"U8", DataType::kUint8},
    {"BOOL", DataType::kBool},          {"F8_E4M3", DataType::kFloat8E4M3FN},
    {"F8_E5M2", DataType::kFloat8E5M2},
};

Error Bad(std::string_view name, std::string_view what) {
  return Error(ERROR_REASON_MODEL_MALFORMED,
               FormatString("safetensors: tensor '{}' {}", name, what))
      .Tensor(name);
}

bool IsSize(const nlohmann::json& value) {
  return value.is_number_unsigned() &&
         value.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
}

absl::StatusOr<NamedTensor> ReadEntry(const std::string& name, const nlohmann::json& entry,
                                      const std::shared_ptr<const MappedFile>& file,
                                      uint64_t data_begin) {
  if (!entry.is_object() || !entry.contains("dtype") || !entry.contains("shape") ||
      !entry.contains("data_offsets") || !entry["dtype"].is_string() ||
      !entry["shape"].is_array() || !entry["data_offsets"].is_array()) {
    return Bad(name, "lacks dtype, shape or data_offsets");
  }
  NamedTensor tensor{.name = name};
  const std::string dtype = entry["dtype"].get<std::string>();
  tensor.type = TypeOf(dtype);
  if (tensor.type == DataType::kUndefined) {
    return Error(
               ERROR_REASON_OP_UNSUPPORTED,
               FormatString("safetensors: tensor '{}' is of type {}, which has no ONNX counterpart",
                            name, dtype))
        .Tensor(name);
  }
  if (entry["shape"].size() > kMaxRank) return Bad(name, "has too many axes");
  for (const nlohmann::json& extent : entry["shape"]) {
    if (!IsSize(extent)) return Bad(name, "has an extent that is no size");
    tensor.dims.push_back(extent.get<int64_t>());
  }
  const nlohmann::json& place = entry["data_offsets"];
  if (place.size() != 2 || !IsSize(place[0]) || !IsSize(place[1])) {
    return Bad(name, "has no valid data_offsets");
  }
  const uint64_t begin = place[0].get<uint64_t>(), end = place[1].get<uint64_t>();
  if (begin > end || end > file->size() - data_begin) return Bad(name, "lies outside of the file");
  const absl::StatusOr<uint64_t> count = ElementCount(tensor.dims);
  const absl::StatusOr<uint64_t> size = count.ok() ? ByteCount(tensor.type, *count) : count;
  if (!size.ok() || *size != end - begin) {
    return Bad(name, FormatString("has {} bytes, which is not what its shape needs", end - begin));
  }
  tensor.data = {file, data_begin + begin, end - begin};
  return tensor;
}

}  // namespace

DataType TypeOf(std::string_view name) {
  for (const auto& [text, type] : kTypes) {
    if (text == name) return type;
  }
  return DataType::kUndefined;
}

std::string_view NameOf(DataType type) {
  for (const auto& [text, known] : kTypes) {
    if (known == type) return text;
  }
  return "";
}

bool LooksLikeSafetensors(std::span<const std::byte> bytes) {
  if (bytes.size() < 10) return false;
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof(length));
  // A ZIP archive or other file whose ninth byte is a brace has a "length" of a much larger number.
  return length >= 2 && length <= kMaxHeaderBytes && std::to_integer<char>(bytes[8]) == '{';
}

absl::StatusOr<Contents> Read(const std::shared_ptr<const MappedFile>& file) {
  const std::span<const std::byte> bytes = file->bytes();
  uint64_t length = 0;
  if (bytes.size() < 8) {
    return Error(ERROR_REASON_MODEL_MALFORMED,
                 "safetensors: the file is shorter than its header's length");
  }
  std::memcpy(&length, bytes.data(), sizeof(length));
  if (length > bytes.size() - 8) {
    return Error(ERROR_REASON_MODEL_MALFORMED,
                 FormatString("safetensors: the header claims {} bytes, the file has {}", length,
                              bytes.size()));
  }
  if (length > kMaxHeaderBytes) {
    return Error(ERROR_REASON_MODEL_LIMIT,
                 FormatString("safetensors: a header of {} bytes", length))
        .With("limit", std::to_string(kMaxHeaderBytes));
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + 8, length);
  MP_ASSIGN_OR_RETURN(const nlohmann::json header,
                      ParseJson(text, "safetensors: the header", nullptr, /*unique_keys=*/true));
  if (!header.is_object()) {
    return Error(ERROR_REASON_MODEL_MALFORMED, "safetensors: the header is no JSON object");
  }
  Contents contents;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") {
      if (!entry.is_object()) {
        return Error(ERROR_REASON_MODEL_MALFORMED, "safetensors: __metadata__ is no object");
      }
      for (const auto& [key, value] : entry.items()) {
        if (value.is_string()) contents.metadata[key] = value.get<std::string>();
      }
      continue;
    }
    MP_ASSIGN_OR_RETURN(contents.tensors.emplace_back(), ReadEntry(name, entry, file, 8 + length));
  }
  std::ranges::stable_sort(contents.tensors, {}, [](const NamedTensor& tensor) {
    return std::pair(tensor.data.offset, tensor.data.length);
  });
  uint64_t at = 8 + length;
  for (const NamedTensor& tensor : contents.tensors) {
    if (tensor.data.offset < at) return Bad(tensor.name, "overlaps the one before it");
    if (tensor.data.offset > at) return Bad(tensor.name, "leaves a hole before itself");
    at = tensor.data.offset + tensor.data.length;
  }
  if (at != bytes.size()) {
    return Error(
        ERROR_REASON_MODEL_MALFORMED,
        FormatString("safetensors: {} bytes at the end belong to no tensor", bytes.size() - at));
  }
  return contents;
}

}  // namespace modelpress::safetensors
