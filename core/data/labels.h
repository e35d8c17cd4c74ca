// The labels of a split.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/data/file_tree.h"

namespace modelpress {

// Immutable after making; thread-safe.
class Labels {
 public:
  // An array whose axis 0 counts samples. DATA_INVALID unless it holds finite numbers.
  static absl::StatusOr<Labels> FromArray(NpyArray array);
  // One file per sample: a sample's label, with or without an axis of 1 in front.
  static Labels FromFiles(std::shared_ptr<const FileTree> tree, std::vector<std::string> names);

  uint64_t samples() const { return samples_; }
  // Axis 0 has `count` entries; count is 1 with one file per sample.
  absl::StatusOr<Tensor> Read(uint64_t first, uint64_t count) const;

 private:
  uint64_t samples_ = 0;
  NpyArray array_;
  std::shared_ptr<const FileTree> tree_;
  std::vector<std::string> files_;
};

}  // namespace modelpress
