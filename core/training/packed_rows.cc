// Arrays of rows: see packed_rows.h.
#include "core/training/packed_rows.h"

#include <algorithm>
#include <cmath>

#include "core/base/format_string.h"
#include "core/base/status.h"

namespace modelpress {

absl::StatusOr<PackedArray> ReserveRows(const std::string& name, const Tensor& like, bool exact,
                                        uint64_t rows, const JobContext& context) {
  PackedArray array{.name = name, .type = like.type, .dims = like.dims};
  if (exact) {
    array.dims.insert(array.dims.begin(), static_cast<int64_t>(rows));
  } else {
    array.dims[0] = static_cast<int64_t>(rows);
  }
  if (like.type == DataType::kString) {
    return Error(ERROR_REASON_OP_UNSUPPORTED,
                 FormatString("'{}' holds strings, which are not trained with", name));
  }
  MP_ASSIGN_OR_RETURN(const uint64_t count, ElementCount(array.dims));
  MP_ASSIGN_OR_RETURN(const uint64_t length, ByteCount(array.type, count));
  MP_ASSIGN_OR_RETURN(array.file, context.scratch->NewFile(std::max<uint64_t>(length, 1)));
  return array;
}

Tensor RowsOf(const PackedArray& array, bool exact, uint64_t first, uint64_t count) {
  const auto rows = static_cast<uint64_t>(array.dims[0]);
  uint64_t per_row = 1;
  for (size_t i = 1; i < array.dims.size(); ++i) per_row *= static_cast<uint64_t>(array.dims[i]);
  const uint64_t bytes =
      ByteCount(array.type, rows * per_row).value_or(0) / std::max<uint64_t>(1, rows);
  Tensor tensor{.type = array.type, .dims = array.dims, .owner = array.file};
  tensor.bytes = array.file->bytes().subspan(first * bytes, count * bytes);
  tensor.dims[0] = static_cast<int64_t>(count);
  if (exact) tensor.dims.erase(tensor.dims.begin());
  return tensor;
}

TensorMap FeedOf(const PackedRows& data, uint64_t first, uint64_t count) {
  TensorMap feed;
  for (const PackedArray& input : data.inputs) {
    feed[input.name] = RowsOf(input, data.exact, first, count);
  }
  return feed;
}

int64_t ClassesOf(const PackedTarget& target, bool exact) {
  if (target.loss == TrainTarget::LOSS_BINARY) return 2;
  return target.teacher.dims[target.class_axis + (exact ? 1 : 0)];
}

void DescribeTeacherValues(bool exact, PackedTarget* target) {
  const std::span<const std::byte> bytes = target->teacher.file->bytes();
  uint64_t count = 1;
  for (const int64_t extent : target->teacher.dims) count *= static_cast<uint64_t>(extent);
  const std::span<const float> values(reinterpret_cast<const float*>(bytes.data()), count);
  double sum = 0, squares = 0;
  bool unit = true;
  for (const float value : values) {
    sum += value;
    squares += static_cast<double>(value) * value;
    unit &= value >= 0 && value <= 1;
  }
  const double n = static_cast<double>(std::max<uint64_t>(1, count));
  const double variance = squares / n - sum / n * (sum / n);
  // Of an output that is constant, but for rounding, errors count as they are.
  target->variance = variance > 1e-10 * squares / n ? variance : 1;
  if (target->loss == TrainTarget::LOSS_BINARY) target->probabilities = unit;
  if (target->loss == TrainTarget::LOSS_CLASSES) {
    const double positions = n / static_cast<double>(ClassesOf(*target, exact));
    target->probabilities = unit && std::abs(sum - positions) < 1e-3 * positions;
  }
}

}  // namespace modelpress
