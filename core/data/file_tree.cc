// What every kind of file tree shares: see file_tree.h.
#include "core/data/file_tree.h"

#include <utility>

#include "core/base/status.h"

namespace modelpress {

bool IsDataFile(std::string_view name) {
  if (name.starts_with('.') || name.find("/.") != std::string_view::npos) return false;
  return name.ends_with(".npy") || name.ends_with(".npz");
}

absl::StatusOr<NpyArray> OpenArray(const FileTree& tree, const std::string& name) {
  MP_ASSIGN_OR_RETURN(SharedBytes bytes, tree.Open(name));
  absl::StatusOr<NpyArray> array = NpyArray::Parse(std::move(bytes));
  if (array.ok()) return array;
  const absl::Status named = StatusFromDetail(
      DetailOf(array.status()), "'" + name + "': " + std::string(array.status().message()));
  return Annotate(named, "input", name);
}

}  // namespace modelpress
