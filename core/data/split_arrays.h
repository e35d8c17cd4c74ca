// Which file of a split belongs to which input.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/data/array_samples.h"
#include "core/data/input_feed.h"
#include "core/data/labels.h"

namespace modelpress {

// Takes files by input name; what is left in the end belongs to nothing.
class SplitArrays {
 public:
  explicit SplitArrays(const SplitFiles& files);

  // `<input>.npy`, or the files `<input>/*.npy` in the order of their numbers. DATA_INVALID lists what there is.
  absl::StatusOr<InputFeed> TakeInput(const ValueInfo& input);
  // `labels.npy` or `labels/*.npy`, if there.
  absl::StatusOr<std::optional<Labels>> TakeLabels();
  absl::Status CheckNothingLeft(const std::vector<ValueInfo>& inputs) const;

 private:
  // Full name of `<name>.npy` if it is there, and removes it from what is left.
  std::optional<std::string> TakeArray(std::string_view name);
  std::vector<std::string> TakeFolder(std::string_view name);

  const SplitFiles& files_;
  // Relative to the prefix.
  std::set<std::string, std::less<>> left_;
  // Per-sample files of the first input given that way, without ".npy": the others must have the same.
  std::optional<std::vector<std::string>> sample_names_;
};

}  // namespace modelpress
