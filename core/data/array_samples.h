// Samples read from the arrays of one split.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/data/file_tree.h"
#include "core/data/samples.h"

namespace modelpress {

// The files of one split (or of a data set without splits).
struct SplitFiles {
  std::shared_ptr<const FileTree> tree;
  // Names in the tree begin with this; it ends in '/' or is empty.
  std::string prefix;
  // What messages and reports call it: "test split of the caller's data".
  std::string description;
};

// Matches files with inputs and labels; see DataSet::Split.
absl::StatusOr<std::unique_ptr<Samples>> OpenSplit(const SplitFiles& files,
                                                   const std::vector<ValueInfo>& inputs,
                                                   uint64_t batch_size, uint64_t max_samples);

}  // namespace modelpress
