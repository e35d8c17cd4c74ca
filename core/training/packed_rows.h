// Rows of samples, of the teacher's outputs and of labels, as arrays in scratch files.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/job_context.h"
#include "core/runtime/session.h"
#include "modelpress/v1/trainer.pb.h"

namespace modelpress {

// An array in a scratch file of its own.
struct PackedArray {
  std::string name;
  DataType type = DataType::kUndefined;
  std::vector<int64_t> dims;
  std::shared_ptr<MappedFile> file;
};

struct PackedTarget {
  std::string output;
  TrainTarget::Loss loss = TrainTarget::LOSS_UNSPECIFIED;
  int class_axis = 0;
  bool probabilities = false;
  double variance = 1;
  PackedArray teacher;
  std::optional<PackedArray> labels;
};

// Arrays with the same rows.
struct PackedRows {
  std::vector<PackedArray> inputs;
  std::vector<PackedTarget> targets;
  // A row is one feed as it stands, not to be joined with others: the model fixes its first axis, or has none.
  bool exact = false;
};

// Room for `rows` rows of tensors like this one. OP_UNSUPPORTED for strings; those of Scratch.
absl::StatusOr<PackedArray> ReserveRows(const std::string& name, const Tensor& like, bool exact,
                                        uint64_t rows, const JobContext& context);

// Rows [first, first + count) of an array, as they are fed: of exact rows a single one, without the axis of rows. The
// bytes are those of the file.
Tensor RowsOf(const PackedArray& array, bool exact, uint64_t first, uint64_t count);
// The same rows of every input.
TensorMap FeedOf(const PackedRows& data, uint64_t first, uint64_t count);

// How many classes a target has.
int64_t ClassesOf(const PackedTarget& target, bool exact);

// Sets what the teacher's values themselves say: whether scores are probabilities, and how far squares spread.
void DescribeTeacherValues(bool exact, PackedTarget* target);

}  // namespace modelpress
