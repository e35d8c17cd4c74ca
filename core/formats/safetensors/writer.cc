// Writing safetensors: see writer.h.
#include "core/formats/safetensors/writer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/base/utf8.h"
#include "core/formats/output_file.h"
#include "core/formats/safetensors/header.h"
#include "core/model/graph.h"
#include "modelpress/v1/report.pb.h"

namespace modelpress::safetensors {
namespace {

struct Entry {
  std::string name;
  DataType type = DataType::kUndefined;
  std::vector<int64_t> dims;
  std::span<const std::byte> bytes;
};

absl::StatusOr<std::vector<Entry>> Collect(const Model& model) {
  std::vector<Entry> entries;
  absl::Status failed;
  absl::flat_hash_set<std::string> names;
  // ForEachTensor tells names only of models that may be changed; nothing is.
  ForEachTensor(const_cast<Model&>(model).mutable_proto(), [&](const TensorSite& site) {
    if (!failed.ok() || site.value_name.empty() || site.graph == nullptr) return;
    const DataType type = Type(*site.tensor);
    if (type == DataType::kString) return;
    if (NameOf(type).empty()) {
      failed = Error(ERROR_REASON_OP_UNSUPPORTED,
                     FormatString("tensor '{}' is of type {}, which safetensors does not have",
                                  site.value_name, DataTypeName(type)))
                   .Tensor(site.value_name);
      return;
    }
    const auto bytes = model.Bytes(*site.tensor);
    if (!bytes.ok()) {
      failed = bytes.status();
      return;
    }
    std::string name = ToUtf8(site.value_name);
    // Graphs inside of graphs may use a name again.
    for (int number = 1; !names.insert(name).second; ++number) {
      name = FormatString("{}_{}", ToUtf8(site.value_name), number);
    }
    const auto dims = Dims(*site.tensor);
    entries.push_back({std::move(name), type, {dims.begin(), dims.end()}, *bytes});
  });
  if (!failed.ok()) return failed;
  std::ranges::sort(entries, [](const Entry& a, const Entry& b) {
    const int wide = BitsPerElement(a.type), other = BitsPerElement(b.type);
    return wide != other ? wide > other : a.name < b.name;
  });
  return entries;
}

}  // namespace

absl::StatusOr<std::vector<ArtifactFile>> Write(const Model& model, const std::string& folder,
                                                const std::string& file_name,
                                                const JobContext& context, double* sync_seconds) {
  MP_ASSIGN_OR_RETURN(const std::vector<Entry> entries, Collect(model));
  if (entries.empty()) {
    return Error(ERROR_REASON_NOTHING_CHANGED, "the model has no weights to write");
  }
  nlohmann::json header = nlohmann::json::object();
  nlohmann::json& metadata = header["__metadata__"];
  // Readers of the transformers library ask for it.
  metadata["format"] = "pt";
  for (const auto& property : model.proto().metadata_props()) {
    metadata[ToUtf8(property.key())] = ToUtf8(property.value());
  }
  uint64_t at = 0;
  for (const Entry& entry : entries) {
    header[entry.name] = {{"dtype", NameOf(entry.type)},
                          {"shape", entry.dims},
                          {"data_offsets", {at, at + entry.bytes.size()}}};
    at += entry.bytes.size();
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  MP_ASSIGN_OR_RETURN(auto file, OutputFile::Create(folder, 8 + length + at, context.cancellation));
  MP_RETURN_IF_ERROR(file->Append(std::as_bytes(std::span(&length, 1))));
  MP_RETURN_IF_ERROR(file->Append(std::as_bytes(std::span(text))));
  for (const Entry& entry : entries) MP_RETURN_IF_ERROR(file->Append(entry.bytes));
  ArtifactFile result;
  MP_ASSIGN_OR_RETURN(const std::string digest, file->Finish());
  MP_RETURN_IF_ERROR(file->Publish(file_name));
  MP_RETURN_IF_ERROR(SyncFolder(folder));
  result.set_name(file_name);
  result.set_size_bytes(file->size());
  result.set_sha256(digest);
  if (sync_seconds != nullptr) *sync_seconds = file->sync_seconds();
  return std::vector<ArtifactFile>{std::move(result)};
}

}  // namespace modelpress::safetensors
