// A data set's files in a folder: see file_tree.h.
#include <algorithm>
#include <filesystem>
#include <utility>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/data/file_tree.h"

namespace modelpress {
namespace {

namespace fs = std::filesystem;

// SPLIT/<input>/00000.npy, and some more for input names that hold slashes.
constexpr int kMaxDepth = 8;
constexpr size_t kMaxFiles = 1'000'000;

Error Unreadable(const std::string& path, const std::error_code& error) {
  return Error(ERROR_REASON_FILE_ACCESS, FormatString("cannot read {}: {}", path, error.message()))
      .With("path", path)
      .Remedy("check the path given for the data");
}

// Whether `path`, links resolved, lies in `root` (canonical).
bool LiesWithin(const fs::path& root, const fs::path& path) {
  const auto [end, rest] = std::mismatch(root.begin(), root.end(), path.begin(), path.end());
  return end == root.end();
}

class FolderTree : public FileTree {
 public:
  FolderTree(std::string path, std::vector<std::string> names)
      : path_(std::move(path)), names_(std::move(names)) {}

  const std::vector<std::string>& names() const override { return names_; }
  const std::string& label() const override { return path_; }

  absl::StatusOr<SharedBytes> Open(std::string_view name) const override {
    MP_ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> file,
                        MappedFile::OpenForReading(path_ + "/" + std::string(name)));
    const std::span<const std::byte> bytes = file->bytes();
    return SharedBytes{bytes, std::move(file)};
  }

 private:
  std::string path_;
  std::vector<std::string> names_;
};

}  // namespace

absl::StatusOr<std::vector<std::string>> ListDataFiles(const std::string& folder) {
  std::error_code error;
  const fs::path root = fs::canonical(folder, error);
  if (error) return Unreadable(folder, error);
  std::vector<std::string> names;
  fs::recursive_directory_iterator entry(root, fs::directory_options::follow_directory_symlink,
                                         error);
  if (error) return Unreadable(folder, error);
  for (; entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    if (error) return Unreadable(folder, error);
    const fs::path& path = entry->path();
    std::string name = path.lexically_relative(root).generic_string();
    const bool is_folder = entry->is_directory(error);
    if (path.filename().string().starts_with('.')) {
      entry.disable_recursion_pending();
      continue;
    }
    if (!is_folder && !IsDataFile(name)) continue;
    if (entry->is_symlink(error)) {
      const fs::path target = fs::canonical(path, error);
      if (error) return Unreadable(path, error);
      if (!LiesWithin(root, target)) {
        return Error(ERROR_REASON_DATA_INVALID,
                     FormatString("'{}' is a link that leads out of the data folder", name))
            .Remedy("put the file itself into the folder");
      }
    }
    if (is_folder) {
      // Also ends the walk through a link to a folder above it.
      if (entry.depth() >= kMaxDepth) {
        return Error(
            ERROR_REASON_DATA_INVALID,
            FormatString("the data folder is more than {} levels deep at '{}'", kMaxDepth, name));
      }
      continue;
    }
    if (!entry->is_regular_file(error)) continue;
    if (names.size() == kMaxFiles) {
      return Error(ERROR_REASON_DATA_INVALID,
                   FormatString("the data folder has more than {} files", kMaxFiles))
          .Remedy("put the samples of an input into one array");
    }
    names.push_back(std::move(name));
  }
  if (error) return Unreadable(folder, error);
  std::ranges::sort(names);
  return names;
}

absl::StatusOr<std::unique_ptr<FileTree>> OpenFolder(const std::string& path) {
  MP_ASSIGN_OR_RETURN(std::vector<std::string> names, ListDataFiles(path));
  return std::make_unique<FolderTree>(path, std::move(names));
}

}  // namespace modelpress
