// Data sets and their splits: see samples.h.
#include <algorithm>
#include <array>
#include <filesystem>
#include <utility>

#include "absl/strings/str_join.h"
#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/data/array_samples.h"
#include "core/data/file_tree.h"
#include "core/data/samples.h"

namespace modelpress {
namespace {

constexpr std::array<std::string_view, 5> kSplits = {"calib", "train", "unlabeled", "val", "test"};

class TreeDataSet : public DataSet {
 public:
  TreeDataSet(std::shared_ptr<const FileTree> tree, Scratch* scratch)
      : tree_(std::move(tree)), scratch_(scratch) {
    for (const std::string_view split : kSplits) {
      if (HasFolder(split) || HasNpz(split)) splits_.emplace_back(split);
    }
  }

  bool HasSplit(std::string_view split) const override {
    return std::ranges::contains(splits_, split);
  }

  absl::StatusOr<std::unique_ptr<Samples>> Split(std::string_view split,
                                                 const std::vector<std::string>& fallbacks,
                                                 const std::vector<ValueInfo>& inputs,
                                                 uint64_t batch_size,
                                                 uint64_t max_samples) const override {
    if (splits_.empty()) {
      return OpenSplit({tree_, "", "the caller's data"}, inputs, batch_size, max_samples);
    }
    std::vector<std::string> wanted = {std::string(split)};
    wanted.insert(wanted.end(), fallbacks.begin(), fallbacks.end());
    for (const std::string& name : wanted) {
      if (!HasSplit(name)) continue;
      MP_ASSIGN_OR_RETURN(const SplitFiles files, FilesOf(name));
      return OpenSplit(files, inputs, batch_size, max_samples);
    }
    return Error(ERROR_REASON_DATA_MISSING,
                 FormatString("the data has no split '{}', only {}", absl::StrJoin(wanted, "', '"),
                              absl::StrJoin(splits_, ", ")))
        .With("needed", split);
  }

 private:
  bool HasFolder(std::string_view split) const {
    const std::string prefix = std::string(split) + "/";
    const auto at = std::ranges::lower_bound(tree_->names(), prefix);
    return at != tree_->names().end() && at->starts_with(prefix);
  }
  bool HasNpz(std::string_view split) const {
    return std::ranges::binary_search(tree_->names(), std::string(split) + ".npz");
  }

  absl::StatusOr<SplitFiles> FilesOf(std::string_view split) const {
    SplitFiles files{.tree = tree_, .prefix = std::string(split) + "/"};
    files.description = FormatString("{} split of the caller's data", split);
    if (!HasNpz(split)) return files;
    const std::string name = std::string(split) + ".npz";
    if (HasFolder(split)) {
      return Error(ERROR_REASON_DATA_INVALID,
                   FormatString("the data has both '{}' and a folder '{}'", name, split))
          .Remedy("remove one of them");
    }
    MP_ASSIGN_OR_RETURN(SharedBytes bytes, tree_->Open(name));
    MP_ASSIGN_OR_RETURN(files.tree, OpenZip(std::move(bytes), name, scratch_));
    files.prefix.clear();
    return files;
  }

  std::shared_ptr<const FileTree> tree_;
  Scratch* scratch_;
  std::vector<std::string> splits_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<DataSet>> DataSet::Open(const std::string& path, Scratch* scratch) {
  std::unique_ptr<FileTree> tree;
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    MP_ASSIGN_OR_RETURN(tree, OpenFolder(path));
  } else {
    MP_ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> file, MappedFile::OpenForReading(path));
    const std::span<const std::byte> bytes = file->bytes();
    const std::string name = std::filesystem::path(path).filename();
    MP_ASSIGN_OR_RETURN(tree, OpenZip({bytes, std::move(file)}, name, scratch));
  }
  if (tree->names().empty()) {
    return Error(ERROR_REASON_DATA_INVALID,
                 FormatString("{} holds no .npy or .npz files", tree->label()))
        .Remedy("give a folder, ZIP or .npz with one array per input of the model");
  }
  return std::make_unique<TreeDataSet>(std::move(tree), scratch);
}

}  // namespace modelpress
