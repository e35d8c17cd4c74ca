// The samples of one input of a model: how an array, or a folder of arrays, is cut into feeds.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/data/file_tree.h"
#include "core/runtime/session.h"

namespace modelpress {

// Immutable after making; thread-safe.
class InputFeed {
 public:
  enum class Layout {
    kBatched,   // samples along axis 0: any number of them may be fed at once
    kExact,     // one sample per feed, as it stands
    kConstant,  // the same value in every feed (an array of rank 0 for a scalar input)
  };

  // `name`: of the file, for messages. DATA_INVALID where type or shape do not fit, naming input, expected and found.
  static absl::StatusOr<InputFeed> FromArray(ValueInfo input, NpyArray array, std::string name);
  // One file per sample, in this order. The first is checked now, each when it is read.
  static absl::StatusOr<InputFeed> FromFiles(ValueInfo input, std::shared_ptr<const FileTree> tree,
                                             std::vector<std::string> names);

  Layout layout() const { return layout_; }
  const std::string& input_name() const { return input_.name; }
  // Number of samples; of no meaning for kConstant.
  uint64_t samples() const { return samples_; }
  // How many samples one feed must have because the model's axis 0 is fixed; 0 if it is free.
  uint64_t fixed_batch() const { return fixed_batch_; }
  // The value for samples [first, first + count); count is 1 unless kBatched. DATA_NOT_FINITE names input, sample and
  // element.
  absl::StatusOr<Tensor> Read(uint64_t first, uint64_t count) const;

 private:
  explicit InputFeed(ValueInfo input) : input_(std::move(input)) {}
  absl::StatusOr<NpyArray> OpenFile(uint64_t index) const;
  absl::Status CheckValues(const Tensor& value, uint64_t first, uint64_t count) const;

  ValueInfo input_;
  Layout layout_ = Layout::kExact;
  uint64_t samples_ = 0;
  uint64_t fixed_batch_ = 0;
  NpyArray array_;
  // With one file per sample.
  std::shared_ptr<const FileTree> tree_;
  std::vector<std::string> files_;
};

// "float32 [N, 3, ?, 640]".
std::string DescribeValue(const ValueInfo& value);
std::string DescribeArray(DataType type, std::span<const int64_t> dims);

}  // namespace modelpress
