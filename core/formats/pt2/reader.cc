// The archive of an exported program: see reader.h.
#include "core/formats/pt2/reader.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/base/zip_archive.h"
#include "core/formats/pt2/graph_reader.h"
#include "core/formats/pt2/schema_json.h"
#include "core/formats/pytorch/checkpoint.h"
#include "core/formats/weights/json_text.h"

namespace modelpress::pt2 {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxJsonBytes = uint64_t{128} << 20;

absl::Status Bad(std::string_view what) {
  return Error(ERROR_REASON_MODEL_MALFORMED,
               FormatString("the .pt2 archive is not valid: {}", what));
}

std::string_view Text(const WeightRef& bytes) {
  return {reinterpret_cast<const char*>(bytes.bytes().data()), bytes.length};
}

class ArchiveReader {
 public:
  ArchiveReader(const std::shared_ptr<const MappedFile>& file, const JobContext& context)
      : file_(file), context_(context), arena_(context.scratch) {}

  absl::StatusOr<Program> Read() {
    MP_ASSIGN_OR_RETURN(zip_,
                        ZipArchive::Open(file_->bytes(), ERROR_REASON_MODEL_MALFORMED, "pt2"));
    for (const auto& [name, entry] : zip_->entries()) {
      if (name.contains("data/aotinductor/")) {
        return Error(ERROR_REASON_FORMAT_UNSUPPORTED,
                     "the .pt2 is a compiled package (AOTInductor), which has no graph")
            .With("format", "pt2")
            .Remedy("save the exported program itself: torch.export.save(program, path)");
      }
    }
    std::string json_name = Find("serialized_exported_program.json");
    const bool old_layout = !json_name.empty();
    if (!old_layout) MP_RETURN_IF_ERROR(FindModel(&json_name));
    MP_ASSIGN_OR_RETURN(const WeightRef text, Bytes(json_name, kMaxJsonBytes));
    MP_ASSIGN_OR_RETURN(program_, ParseProgram(Text(text)));
    if (old_layout) {
      MP_RETURN_IF_ERROR(AddCheckpoint(Find("serialized_state_dict.pt")));
      MP_RETURN_IF_ERROR(AddCheckpoint(Find("serialized_constants.pt")));
    } else {
      for (const char* kind : {"weights", "constants"}) {
        const std::string folder = FormatString("{}data/{}/", root_, kind);
        const std::string config = FormatString("{}{}_{}_config.json", folder, name_, kind);
        if (zip_->Find(config) != nullptr) {
          MP_RETURN_IF_ERROR(AddRaw(config, folder));
        } else {
          MP_RETURN_IF_ERROR(AddCheckpoint(Find(FormatString("data/{}/{}.pt", kind, name_))));
        }
      }
    }
    return std::move(program_);
  }

 private:
  // The entry of that name at the top or below one folder; "" if there is none.
  std::string Find(std::string_view name) const {
    for (const auto& [entry, place] : zip_->entries()) {
      if (entry == name) return entry;
      if (entry.size() > name.size() && entry.ends_with(name) &&
          entry[entry.size() - name.size() - 1] == '/' &&
          std::string_view(entry).substr(0, entry.size() - name.size() - 1).find('/') ==
              std::string_view::npos) {
        return entry;
      }
    }
    return "";
  }

  // models/<name>.json: "model" if there are several.
  absl::Status FindModel(std::string* json_name) {
    for (const auto& [entry, place] : zip_->entries()) {
      const size_t models = entry.find("models/");
      if (models == std::string::npos || !entry.ends_with(".json")) continue;
      if (models > 0 && (entry[models - 1] != '/' || entry.find('/') != models - 1)) continue;
      const size_t begin = models + std::string_view("models/").size();
      const std::string name =
          entry.substr(begin, entry.size() - begin - std::string_view(".json").size());
      if (!json_name->empty() && name != "model") continue;
      *json_name = entry;
      root_ = entry.substr(0, models);
      name_ = name;
    }
    return json_name->empty() ? Bad("it has no exported program") : absl::OkStatus();
  }

  absl::StatusOr<WeightRef> Bytes(const std::string& name, uint64_t limit) {
    const ZipArchive::Entry* entry = zip_->Find(name);
    if (entry == nullptr) return Bad(FormatString("the entry '{}' is missing", name));
    if (entry->size > limit) {
      return Error(ERROR_REASON_MODEL_LIMIT,
                   FormatString("the entry '{}' has {} bytes", name, entry->size))
          .With("limit", std::to_string(limit));
    }
    if (!entry->compressed) return WeightRef{file_, entry->offset, entry->size};
    MP_ASSIGN_OR_RETURN(const auto file, context_.scratch->NewFile(entry->size));
    MP_RETURN_IF_ERROR(zip_->Expand(name, *entry, file->mutable_bytes()));
    return WeightRef{file, 0, entry->size};
  }

  absl::Status AddCheckpoint(const std::string& name) {
    if (name.empty()) return absl::OkStatus();
    MP_ASSIGN_OR_RETURN(const WeightRef archive, Bytes(name, ~uint64_t{0}));
    std::vector<std::string> notes;
    MP_ASSIGN_OR_RETURN(std::vector<NamedTensor> tensors,
                        pytorch::ReadCheckpoint(archive, arena_, context_.scratch, &notes));
    for (NamedTensor& tensor : tensors) {
      std::string key = tensor.name;
      program_.weights.emplace(std::move(key), std::move(tensor));
    }
    return absl::OkStatus();
  }

  // {"config": {name: {path_name, use_pickle, tensor_meta}}}: storages as raw bytes, several tensors may share one.
  absl::Status AddRaw(const std::string& config_name, const std::string& folder) {
    MP_ASSIGN_OR_RETURN(const WeightRef text, Bytes(config_name, kMaxJsonBytes));
    MP_ASSIGN_OR_RETURN(const json config, ParseJson(Text(text), "the table of weights", nullptr));
    if (!config.is_object() || !config.contains("config") || !config["config"].is_object()) {
      return Bad(FormatString("'{}' is no table of weights", config_name));
    }
    std::map<std::string, WeightRef> storages;
    for (const auto& [name, entry] : config["config"].items()) {
      if (!entry.is_object() || !entry.contains("path_name") || !entry["path_name"].is_string()) {
        return Bad(FormatString("weight '{}' has no path_name", name));
      }
      const std::string path = entry["path_name"].get<std::string>();
      if (entry.contains("use_pickle") && entry["use_pickle"] == true) {
        return Error(ERROR_REASON_OP_UNSUPPORTED,
                     FormatString(
                         "weight '{}' is an object of a tensor's subclass, stored as a program",
                         name))
            .Tensor(name)
            .Op("pickled weight")
            .Remedy("replace it by a plain tensor before the export");
      }
      // Objects that are no tensors (path custom_obj_N) have no meta; a graph that uses them says so.
      if (!entry.contains("tensor_meta") || entry["tensor_meta"].is_null()) continue;
      absl::StatusOr<TensorMeta> parsed = ParseTensorMeta(entry["tensor_meta"]);
      if (!parsed.ok()) return Annotate(parsed.status(), "tensor", name);
      if (!parsed->is_static() || parsed->strides.size() != parsed->sizes.size()) {
        return Bad(FormatString("weight '{}' has no fixed shape and strides", name));
      }
      auto storage = storages.find(path);
      if (storage == storages.end()) {
        MP_ASSIGN_OR_RETURN(const WeightRef bytes, Bytes(folder + path, ~uint64_t{0}));
        storage = storages.emplace(path, bytes).first;
      }
      const DataType type =
          IsComplex(parsed->type) ? DataType::kUndefined : ToOnnxType(parsed->type);
      if (type == DataType::kUndefined) {
        return Error(ERROR_REASON_OP_UNSUPPORTED,
                     FormatString("weight '{}' is of type {}", name, ScalarTypeName(parsed->type)))
            .Tensor(name);
      }
      MP_ASSIGN_OR_RETURN(NamedTensor tensor, Materialise(name,
                                                          {.type = type,
                                                           .dims = parsed->dims(),
                                                           .strides = parsed->strides,
                                                           .offset = parsed->storage_offset,
                                                           .storage = storage->second},
                                                          arena_));
      program_.weights.emplace(name, std::move(tensor));
    }
    return absl::OkStatus();
  }

  std::shared_ptr<const MappedFile> file_;
  const JobContext& context_;
  WeightArena arena_;
  std::unique_ptr<ZipArchive> zip_;
  std::string root_, name_;
  Program program_;
};

}  // namespace

bool LooksLikePt2(std::span<const std::byte> bytes) {
  return pytorch::HasEntry(bytes, "serialized_exported_program.json") ||
         (pytorch::HasEntry(bytes, "archive_format") && pytorch::HasEntry(bytes, "models/")) ||
         pytorch::HasEntry(bytes, "data/aotinductor/");
}

absl::StatusOr<Program> ReadProgram(const std::shared_ptr<const MappedFile>& file,
                                    const JobContext& context) {
  return ArchiveReader(file, context).Read();
}

}  // namespace modelpress::pt2
