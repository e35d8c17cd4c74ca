// The files of a data set by relative name, whether they lie in a folder or in a ZIP archive.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/scratch.h"
#include "core/data/npy.h"

namespace modelpress {

// Whether a data set's file counts: .npy and .npz; no name that begins with a dot, nor anything below one (archives made
// on other systems hold "._input.npy" beside "input.npy").
bool IsDataFile(std::string_view name);

// Immutable after opening; thread-safe. Lists the files for which IsDataFile holds.
class FileTree {
 public:
  virtual ~FileTree() = default;

  // Relative names with '/' between parts, sorted.
  virtual const std::vector<std::string>& names() const = 0;
  // The bytes of a listed file. They stay valid as long as their owner, also when the tree is gone.
  virtual absl::StatusOr<SharedBytes> Open(std::string_view name) const = 0;
  // What messages call it: the path.
  virtual const std::string& label() const = 0;
};

// Opens and parses an array; errors of the file's content say its name.
absl::StatusOr<NpyArray> OpenArray(const FileTree& tree, const std::string& name);

// A folder. Symbolic links are followed within it; one that leads out of it is DATA_INVALID, so that a data set is the
// same whether it is read here or sent to a server.
absl::StatusOr<std::unique_ptr<FileTree>> OpenFolder(const std::string& path);

// A ZIP archive in memory. Stored entries are used in place; compressed ones are expanded into `scratch` (which must
// outlive the tree) each time they are opened. DATA_INVALID for archives that contradict themselves: overlapping
// entries, one name twice, names that are absolute or hold "..", sizes that deflate cannot reach, encryption.
absl::StatusOr<std::unique_ptr<FileTree>> OpenZip(SharedBytes archive, std::string label,
                                                  Scratch* scratch);

// Names of a folder's data files, sorted; the rule of OpenFolder about links. FILE_ACCESS if it cannot be read.
absl::StatusOr<std::vector<std::string>> ListDataFiles(const std::string& folder);

}  // namespace modelpress
