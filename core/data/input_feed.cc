// Cutting arrays into feeds: see input_feed.h.
#include "core/data/input_feed.h"

#include <cmath>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/str_join.h"
#include "core/base/format_string.h"
#include "core/base/status.h"

namespace modelpress {
namespace {

Error Mismatch(const ValueInfo& input, const std::string& found, std::string_view file,
               std::string_view what) {
  const std::string expected = DescribeValue(input);
  return Error(ERROR_REASON_DATA_INVALID,
               FormatString("'{}' {}: the model's input '{}' takes {}, the array is {}", file, what,
                            input.name, expected, found))
      .With("input", input.name)
      .With("expected", expected)
      .With("found", found);
}

std::string Describe(const NpyArray& array) { return DescribeArray(array.type, array.dims); }

// No silent casts: which one is right is the caller's knowledge.
absl::Status CheckType(const ValueInfo& input, const NpyArray& array, std::string_view file) {
  if (input.type == array.type) return absl::OkStatus();
  return Mismatch(input, Describe(array), file, "has the wrong type")
      .Remedy(input.type == DataType::kString
                  ? "save it as fixed-width strings (NumPy dtype S or U)"
                  : FormatString("save it as {} (NumPy: array.astype('{}'))",
                                 DataTypeName(input.type), DataTypeName(input.type)));
}

// Whether `extents` may be fed where the model declares `dims`, from axis `from` on (of the model's).
bool Fits(std::span<const int64_t> dims, std::span<const int64_t> extents, size_t from) {
  for (size_t i = from; i < dims.size(); ++i) {
    if (dims[i] >= 0 && dims[i] != extents[i - from]) return false;
  }
  return true;
}

uint32_t Load(const std::byte* data, size_t size) {
  uint32_t value = 0;
  std::memcpy(&value, data, size);
  return value;
}

// Index of the first NaN or infinity.
std::optional<uint64_t> FirstNotFinite(const Tensor& tensor) {
  const std::byte* data = tensor.bytes.data();
  const uint64_t count = tensor.element_count();
  for (uint64_t i = 0; i < count; ++i) {
    bool finite = true;
    // All ones in the exponent (IEEE 754).
    if (tensor.type == DataType::kFloat) {
      finite = (Load(data + 4 * i, 4) & 0x7F800000u) != 0x7F800000u;
    } else if (tensor.type == DataType::kFloat16) {
      finite = (Load(data + 2 * i, 2) & 0x7C00u) != 0x7C00u;
    } else {
      finite = std::isfinite(ElementAsDouble(tensor, i));
    }
    if (!finite) return i;
  }
  return std::nullopt;
}

}  // namespace

std::string DescribeValue(const ValueInfo& value) {
  if (!value.is_tensor) return "no tensor";
  std::vector<std::string> extents;
  for (size_t i = 0; i < value.dims.size(); ++i) {
    const bool named = i < value.symbols.size() && !value.symbols[i].empty();
    extents.push_back(value.dims[i] >= 0 ? std::to_string(value.dims[i])
                      : named            ? value.symbols[i]
                                         : "?");
  }
  return FormatString("{} [{}]", DataTypeName(value.type), absl::StrJoin(extents, ", "));
}

std::string DescribeArray(DataType type, std::span<const int64_t> dims) {
  return FormatString("{} [{}]", DataTypeName(type), absl::StrJoin(dims, ", "));
}

absl::StatusOr<InputFeed> InputFeed::FromArray(ValueInfo input, NpyArray array, std::string name) {
  InputFeed feed(std::move(input));
  const std::span<const int64_t> dims = feed.input_.dims;
  MP_RETURN_IF_ERROR(CheckType(feed.input_, array, name));
  for (const int64_t extent : array.dims) {
    if (extent == 0) return Mismatch(feed.input_, Describe(array), name, "holds no samples");
  }
  if (array.dims.empty() && dims.empty()) {
    feed.layout_ = Layout::kConstant;
  } else if (!array.dims.empty() && array.dims.size() == dims.size() + 1 &&
             Fits(dims, std::span(array.dims).subspan(1), 0)) {
    feed.layout_ = Layout::kExact;
  } else if (array.dims.size() == dims.size() || (dims.empty() && array.dims.size() > 1)) {
    // (No extents and an array of higher rank: the model does not declare the input's rank.)
    feed.layout_ = Layout::kBatched;
    if (!dims.empty() && dims[0] >= 0) feed.fixed_batch_ = static_cast<uint64_t>(dims[0]);
    if (!dims.empty() && !Fits(dims, std::span(array.dims).subspan(1), 1)) {
      return Mismatch(feed.input_, Describe(array), name, "has the wrong shape");
    }
  } else {
    return Mismatch(feed.input_, Describe(array), name, "has the wrong shape")
        .Remedy(
            "give it the input's rank with samples along axis 0, or one rank more with each "
            "a[i] exactly as it is fed");
  }
  feed.samples_ = array.dims.empty() ? 0 : static_cast<uint64_t>(array.dims[0]);
  feed.array_ = std::move(array);
  return feed;
}

absl::StatusOr<InputFeed> InputFeed::FromFiles(ValueInfo input,
                                               std::shared_ptr<const FileTree> tree,
                                               std::vector<std::string> names) {
  InputFeed feed(std::move(input));
  feed.layout_ = Layout::kExact;
  feed.samples_ = names.size();
  feed.tree_ = std::move(tree);
  feed.files_ = std::move(names);
  MP_RETURN_IF_ERROR(feed.OpenFile(0).status());
  return feed;
}

absl::StatusOr<NpyArray> InputFeed::OpenFile(uint64_t index) const {
  const std::string& name = files_[index];
  MP_ASSIGN_OR_RETURN(NpyArray array, OpenArray(*tree_, name));
  MP_RETURN_IF_ERROR(CheckType(input_, array, name));
  if (array.dims.size() != input_.dims.size() && !input_.dims.empty()) {
    return Mismatch(input_, Describe(array), name, "has the wrong rank")
        .Remedy("a file of one sample holds it exactly as it is fed, a batch axis of 1 included");
  }
  if (!input_.dims.empty() && !Fits(input_.dims, array.dims, 0)) {
    return Mismatch(input_, Describe(array), name, "has the wrong shape");
  }
  return array;
}

absl::StatusOr<Tensor> InputFeed::Read(uint64_t first, uint64_t count) const {
  Tensor value;
  if (tree_ != nullptr) {
    MP_ASSIGN_OR_RETURN(const NpyArray array, OpenFile(first));
    MP_ASSIGN_OR_RETURN(value, array.All());
  } else if (layout_ == Layout::kConstant) {
    MP_ASSIGN_OR_RETURN(value, array_.All());
  } else {
    MP_ASSIGN_OR_RETURN(value, array_.Rows(first, count));
    if (layout_ == Layout::kExact) value.dims.erase(value.dims.begin());
  }
  MP_RETURN_IF_ERROR(CheckValues(value, first, count));
  return value;
}

absl::Status InputFeed::CheckValues(const Tensor& value, uint64_t first, uint64_t count) const {
  if (value.type == DataType::kBool) {
    for (const std::byte byte : value.bytes) {
      if (std::to_integer<int>(byte) > 1) {
        return Error(ERROR_REASON_DATA_INVALID,
                     FormatString("the array of input '{}' is bool but holds other bytes than 0 "
                                  "and 1",
                                  input_.name))
            .With("input", input_.name);
      }
    }
  }
  if (!IsFloatingPoint(value.type)) return absl::OkStatus();
  const std::optional<uint64_t> at = FirstNotFinite(value);
  if (!at.has_value()) return absl::OkStatus();
  const uint64_t per_sample = value.element_count() / count;
  const uint64_t sample = first + *at / per_sample;
  return Error(ERROR_REASON_DATA_NOT_FINITE,
               FormatString("sample {} of input '{}' holds {} at element {}", sample, input_.name,
                            ElementAsDouble(value, *at), *at % per_sample))
      .With("input", input_.name)
      .With("sample", std::to_string(sample))
      .With("index", std::to_string(*at % per_sample));
}

}  // namespace modelpress
