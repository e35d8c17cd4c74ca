// External data: see external_data.h.
#include "core/formats/onnx/external_data.h"

#include <algorithm>
#include <charconv>

#include "core/base/format_string.h"
#include "core/base/status.h"

namespace modelpress::onnx_format {
namespace {

Error Rejected(const onnx::TensorProto& tensor, std::string_view location, std::string_view why) {
  return Error(ERROR_REASON_EXTERNAL_DATA_REJECTED,
               FormatString("external data of tensor \"{}\" at \"{}\": {}", tensor.name(), location,
                            why))
      .Tensor(tensor.name())
      .With("location", location);
}

// A decimal number without sign or spaces.
bool ParseNumber(const std::string& text, uint64_t* value) {
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, *value);
  return error == std::errc() && rest == end && !text.empty();
}

}  // namespace

absl::StatusOr<std::string> NormaliseName(std::string_view name) {
  const auto reject = [&](std::string_view why) {
    return Error(ERROR_REASON_EXTERNAL_DATA_REJECTED,
                 FormatString("\"{}\" is not a name of a file beside the model: {}", name, why))
        .With("location", name)
        .Remedy("save the model with external data in its own folder, under a plain name");
  };
  if (std::any_of(name.begin(), name.end(),
                  [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; })) {
    return reject("it has control characters");
  }
  if (name.starts_with('/')) return reject("it is an absolute path");
  if (name.contains('\\')) return reject("it has a backslash");
  if (name.size() >= 2 && name[1] == ':') return reject("it has a drive letter");
  std::string result;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('/', begin), name.size());
    const std::string_view part = name.substr(begin, end - begin);
    if (part == "..") return reject("it leaves the model's folder");
    if (!part.empty() && part != ".") {
      if (!result.empty()) result += '/';
      result += part;
    }
    begin = end + 1;
  }
  if (result.empty()) return reject("it is empty");
  return result;
}

absl::StatusOr<WeightRef> ResolveExternalData(const onnx::TensorProto& tensor, uint64_t expected,
                                              const InputFiles& files) {
  std::string location;
  uint64_t offset = 0;
  uint64_t length = expected;
  for (const onnx::StringStringEntryProto& entry : tensor.external_data()) {
    if (entry.key() == "location") {
      location = entry.value();
    } else if (entry.key() == "offset") {
      if (!ParseNumber(entry.value(), &offset)) {
        return Rejected(tensor, location,
                        FormatString("offset \"{}\" is no number", entry.value()));
      }
    } else if (entry.key() == "length") {
      if (!ParseNumber(entry.value(), &length)) {
        return Rejected(tensor, location,
                        FormatString("length \"{}\" is no number", entry.value()));
      }
    }
  }
  const absl::StatusOr<std::string> name = NormaliseName(location);
  if (!name.ok()) return Annotate(name.status(), "tensor", tensor.name());
  if (length != expected) {
    return Error(ERROR_REASON_MODEL_MALFORMED,
                 FormatString("external data of tensor \"{}\" has length {} but its type and dims "
                              "need {}",
                              tensor.name(), length, expected))
        .Tensor(tensor.name());
  }
  for (const InputFile& sidecar : files.sidecars) {
    const absl::StatusOr<std::string> sidecar_name = NormaliseName(sidecar.name);
    if (!sidecar_name.ok() || *sidecar_name != *name) continue;
    const uint64_t size = sidecar.file->size();
    if (offset > size || length > size - offset) {
      return Rejected(tensor, location,
                      FormatString("bytes {} to {} are asked for but the file has {}", offset,
                                   offset + length, size))
          .Remedy("the file may be truncated or of another version of the model");
    }
    return WeightRef{sidecar.file, offset, length};
  }
  return Rejected(tensor, location, "that file did not come with the model")
      .Remedy(FormatString("send \"{}\" along with the model", *name));
}

}  // namespace modelpress::onnx_format
