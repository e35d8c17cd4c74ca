// Files of torch.save: see checkpoint.h.
#include "core/formats/pytorch/checkpoint.h"

#include <algorithm>
#include <map>
#include <utility>

#include "core/base/format_string.h"
#include "core/base/zip_archive.h"
#include "core/formats/pytorch/pickle.h"

namespace modelpress::pytorch {
namespace {

using Kind = PickleValue::Kind;

constexpr int kMaxDepth = 16;
constexpr size_t kMaxTensors = 1'000'000;
constexpr uint64_t kMaxPickleBytes = uint64_t{1} << 28;

std::string_view Text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class Reader {
 public:
  Reader(const WeightRef& archive, WeightArena& arena, Scratch* scratch)
      : file_(archive), arena_(arena), scratch_(scratch) {}

  absl::StatusOr<std::vector<NamedTensor>> Read(std::vector<std::string>* notes) {
    MP_ASSIGN_OR_RETURN(
        zip_, ZipArchive::Open(file_.bytes(), ERROR_REASON_MODEL_MALFORMED, "PyTorch archive"));
    MP_RETURN_IF_ERROR(FindRoot());
    if (const ZipArchive::Entry* order = zip_->Find(root_ + "byteorder");
        order != nullptr && !order->compressed && Text(zip_->Stored(*order)) == "big") {
      return Error(ERROR_REASON_FORMAT_UNSUPPORTED,
                   "the checkpoint was written on a big-endian machine")
          .Remedy("load and save it on a little-endian one");
    }
    MP_ASSIGN_OR_RETURN(const WeightRef program, Bytes(root_ + "data.pkl", kMaxPickleBytes));
    MP_ASSIGN_OR_RETURN(pickle_, ReadPickle(program.bytes()));
    int dict = pickle_.root;
    for (const std::string_view name :
         {"state_dict", "model_state_dict", "model", "module", "net", "weights"}) {
      if (HasTensor(dict)) break;
      const int inner = Member(dict, name);
      if (inner < 0 || !HasTensor(inner)) continue;
      notes->push_back(FormatString("the weights are those under \"{}\" of the checkpoint", name));
      dict = inner;
    }
    MP_RETURN_IF_ERROR(Collect(dict, "", 0));
    if (other_values_ > 0) {
      notes->push_back(FormatString("{} values that are no tensors were left out", other_values_));
    }
    return std::move(tensors_);
  }

 private:
  absl::Status FindRoot() {
    for (const auto& [name, entry] : zip_->entries()) {
      if (!name.ends_with("/data.pkl") && name != "data.pkl") continue;
      if (std::ranges::count(name, '/') > 1) continue;
      root_ = name.substr(0, name.size() - std::string_view("data.pkl").size());
      return absl::OkStatus();
    }
    return Error(ERROR_REASON_MODEL_MALFORMED, "PyTorch archive: it has no data.pkl");
  }

  // An entry where it lies, or expanded into scratch.
  absl::StatusOr<WeightRef> Bytes(const std::string& name, uint64_t limit) {
    const ZipArchive::Entry* entry = zip_->Find(name);
    if (entry == nullptr) {
      return Error(ERROR_REASON_MODEL_MALFORMED,
                   FormatString("PyTorch archive: the entry '{}' is missing", name));
    }
    if (entry->size > limit) {
      return Error(ERROR_REASON_MODEL_LIMIT,
                   FormatString("PyTorch archive: '{}' has {} bytes", name, entry->size))
          .With("limit", std::to_string(limit));
    }
    if (!entry->compressed) return WeightRef{file_.file, file_.offset + entry->offset, entry->size};
    MP_ASSIGN_OR_RETURN(const auto file, scratch_->NewFile(entry->size));
    MP_RETURN_IF_ERROR(zip_->Expand(name, *entry, file->mutable_bytes()));
    return WeightRef{file, 0, entry->size};
  }

  int Member(int dict, std::string_view name) const {
    const PickleValue& value = pickle_[dict];
    if (value.kind != Kind::kDict) return -1;
    for (size_t i = 0; i + 1 < value.items.size(); i += 2) {
      const PickleValue& key = pickle_[value.items[i]];
      if (key.kind == Kind::kText && key.text == name) return value.items[i + 1];
    }
    return -1;
  }

  bool HasTensor(int dict) const {
    const PickleValue& value = pickle_[dict];
    if (value.kind != Kind::kDict) return value.kind == Kind::kTensor;
    for (size_t i = 1; i < value.items.size(); i += 2) {
      if (pickle_[value.items[i]].kind == Kind::kTensor) return true;
    }
    return false;
  }

  absl::Status Collect(int index, const std::string& prefix, int depth) {
    const PickleValue& value = pickle_[index];
    if (value.kind == Kind::kTensor)
      return AddTensor(prefix.empty() ? "tensor" : prefix, pickle_.tensors[value.tensor]);
    const bool list = value.kind == Kind::kList || value.kind == Kind::kTuple;
    if (value.kind != Kind::kDict && !list) {
      ++other_values_;
      return absl::OkStatus();
    }
    // Shared values are walked as often as they are named, which could be without end.
    if (depth >= kMaxDepth || ++visited_ > kMaxTensors) {
      return Error(ERROR_REASON_MODEL_LIMIT,
                   "the checkpoint's dictionaries are nested too deeply, or too many");
    }
    const size_t step = list ? 1 : 2;
    for (size_t i = 0; i + step <= value.items.size(); i += step) {
      std::string key = std::to_string(i);
      if (!list) {
        const PickleValue& name = pickle_[value.items[i]];
        if (name.kind != Kind::kText && name.kind != Kind::kInt) {
          ++other_values_;
          continue;
        }
        key = name.kind == Kind::kText ? std::string(name.text) : std::to_string(name.number);
      }
      MP_RETURN_IF_ERROR(
          Collect(value.items[i + step - 1], prefix.empty() ? key : prefix + "." + key, depth + 1));
    }
    return absl::OkStatus();
  }

  absl::Status AddTensor(const std::string& name, const PickledTensor& pickled) {
    if (tensors_.size() >= kMaxTensors)
      return Error(ERROR_REASON_MODEL_LIMIT, "the checkpoint has more than 1,000,000 tensors");
    auto found = storages_.find(pickled.storage);
    if (found == storages_.end()) {
      MP_ASSIGN_OR_RETURN(const WeightRef bytes,
                          Bytes(FormatString("{}data/{}", root_, pickled.storage), ~uint64_t{0}));
      found = storages_.emplace(std::string(pickled.storage), bytes).first;
    }
    MP_ASSIGN_OR_RETURN(NamedTensor tensor, Materialise(name,
                                                        {.type = pickled.type,
                                                         .dims = pickled.dims,
                                                         .strides = pickled.strides,
                                                         .offset = pickled.offset,
                                                         .storage = found->second},
                                                        arena_));
    tensors_.push_back(std::move(tensor));
    return absl::OkStatus();
  }

  const WeightRef& file_;
  WeightArena& arena_;
  Scratch* scratch_;
  std::unique_ptr<ZipArchive> zip_;
  std::string root_;
  Pickle pickle_;
  std::map<std::string, WeightRef, std::less<>> storages_;
  std::vector<NamedTensor> tensors_;
  size_t other_values_ = 0;
  size_t visited_ = 0;
};

}  // namespace

bool HasEntry(std::span<const std::byte> bytes, std::string_view name) {
  // The central directory stands at the end; names are there verbatim.
  constexpr size_t kTail = 4 << 20;
  if (!Text(bytes).starts_with("PK\x03\x04")) return false;
  return Text(bytes.last(std::min(bytes.size(), kTail))).contains(name);
}

bool LooksLikeCheckpoint(std::span<const std::byte> bytes) {
  return HasEntry(bytes, "data.pkl") && !HasEntry(bytes, "constants.pkl") &&
         !HasEntry(bytes, "/code/") && !HasEntry(bytes, "serialized_exported_program") &&
         !HasEntry(bytes, "archive_format") && !HasEntry(bytes, "models/");
}

absl::StatusOr<std::vector<NamedTensor>> ReadCheckpoint(const WeightRef& archive,
                                                        WeightArena& arena, Scratch* scratch,
                                                        std::vector<std::string>* notes) {
  return Reader(archive, arena, scratch).Read(notes);
}

}  // namespace modelpress::pytorch
