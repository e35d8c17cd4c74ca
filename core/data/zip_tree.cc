// A data set's files in a ZIP archive: see file_tree.h.
#include <utility>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/base/zip_archive.h"
#include "core/data/file_tree.h"

namespace modelpress {
namespace {

class ZipTree : public FileTree {
 public:
  ZipTree(SharedBytes bytes, std::string label, Scratch* scratch)
      : bytes_(std::move(bytes)), label_(std::move(label)), scratch_(scratch) {}

  const std::vector<std::string>& names() const override { return names_; }
  const std::string& label() const override { return label_; }

  absl::Status Load() {
    MP_ASSIGN_OR_RETURN(archive_,
                        ZipArchive::Open(bytes_.bytes, ERROR_REASON_DATA_INVALID, label_));
    for (const auto& [name, entry] : archive_->entries()) {
      if (IsDataFile(name)) names_.push_back(name);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<SharedBytes> Open(std::string_view name) const override {
    const ZipArchive::Entry* entry = archive_->Find(name);
    if (entry == nullptr) {
      return Error(ERROR_REASON_DATA_INVALID, FormatString("{}: has no entry '{}'", label_, name));
    }
    if (!entry->compressed) return SharedBytes{archive_->Stored(*entry), bytes_.owner};
    MP_ASSIGN_OR_RETURN(std::shared_ptr<MappedFile> target, scratch_->NewFile(entry->size));
    MP_RETURN_IF_ERROR(archive_->Expand(name, *entry, target->mutable_bytes()));
    return SharedBytes{target->bytes(), std::move(target)};
  }

 private:
  SharedBytes bytes_;
  std::string label_;
  Scratch* scratch_;
  std::unique_ptr<ZipArchive> archive_;
  std::vector<std::string> names_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<FileTree>> OpenZip(SharedBytes archive, std::string label,
                                                  Scratch* scratch) {
  auto tree = std::make_unique<ZipTree>(std::move(archive), std::move(label), scratch);
  MP_RETURN_IF_ERROR(tree->Load());
  return tree;
}

}  // namespace modelpress
