// Labels: see labels.h.
#include "core/data/labels.h"

#include <cmath>
#include <utility>

#include "core/base/format_string.h"
#include "core/base/status.h"

namespace modelpress {
namespace {

absl::Status CheckType(const NpyArray& array) {
  const bool is_complex = array.type == DataType::kComplex64 || array.type == DataType::kComplex128;
  if (array.type != DataType::kString && !is_complex) return absl::OkStatus();
  return Error(ERROR_REASON_DATA_INVALID,
               FormatString("the labels are {}", DataTypeName(array.type)))
      .With("input", "labels")
      .With("expected", "integers or floats")
      .With("found", DataTypeName(array.type))
      .Remedy("save class numbers as integers");
}

absl::Status CheckFinite(const Tensor& labels, uint64_t first, uint64_t count) {
  if (!IsFloatingPoint(labels.type)) return absl::OkStatus();
  const uint64_t elements = labels.element_count();
  for (uint64_t i = 0; i < elements; ++i) {
    const double value = ElementAsDouble(labels, i);
    if (std::isfinite(value)) continue;
    const uint64_t sample = first + i / (elements / count);
    return Error(ERROR_REASON_DATA_NOT_FINITE,
                 FormatString("the label of sample {} is {}", sample, value))
        .With("input", "labels")
        .With("sample", std::to_string(sample))
        .With("index", std::to_string(i % (elements / count)));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Labels> Labels::FromArray(NpyArray array) {
  MP_RETURN_IF_ERROR(CheckType(array));
  if (array.dims.empty()) {
    return Error(ERROR_REASON_DATA_INVALID, "the labels are a single number, not one per sample")
        .With("input", "labels");
  }
  Labels labels;
  labels.samples_ = static_cast<uint64_t>(array.dims[0]);
  labels.array_ = std::move(array);
  return labels;
}

Labels Labels::FromFiles(std::shared_ptr<const FileTree> tree, std::vector<std::string> names) {
  Labels labels;
  labels.samples_ = names.size();
  labels.tree_ = std::move(tree);
  labels.files_ = std::move(names);
  return labels;
}

absl::StatusOr<Tensor> Labels::Read(uint64_t first, uint64_t count) const {
  Tensor value;
  if (tree_ == nullptr) {
    MP_ASSIGN_OR_RETURN(value, array_.Rows(first, count));
  } else {
    MP_ASSIGN_OR_RETURN(const NpyArray array, OpenArray(*tree_, files_[first]));
    MP_RETURN_IF_ERROR(CheckType(array));
    MP_ASSIGN_OR_RETURN(value, array.All());
    if (value.dims.empty() || value.dims[0] != 1) value.dims.insert(value.dims.begin(), 1);
  }
  MP_RETURN_IF_ERROR(CheckFinite(value, first, count));
  return value;
}

}  // namespace modelpress
