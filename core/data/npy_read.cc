// Reading .npy arrays: see npy.h.
#include <algorithm>
#include <charconv>
#include <cstring>
#include <utility>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/data/npy.h"
#include "core/data/npy_header.h"

namespace modelpress {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
// NumPy itself refuses to parse more than 10,000 bytes; version 1 cannot hold more than this.
constexpr uint64_t kMaxHeader = 65535;
// Longest string element, in bytes of the file.
constexpr uint64_t kMaxStringItem = uint64_t{1} << 24;

Error Bad(std::string_view what) {
  return Error(ERROR_REASON_DATA_INVALID, FormatString("the .npy file {}", what));
}

struct NumberType {
  char kind;
  int size;
  DataType type;
};

constexpr NumberType kNumberTypes[] = {
    {'f', 2, DataType::kFloat16},   {'f', 4, DataType::kFloat},      {'f', 8, DataType::kDouble},
    {'i', 1, DataType::kInt8},      {'i', 2, DataType::kInt16},      {'i', 4, DataType::kInt32},
    {'i', 8, DataType::kInt64},     {'u', 1, DataType::kUint8},      {'u', 2, DataType::kUint16},
    {'u', 4, DataType::kUint32},    {'u', 8, DataType::kUint64},     {'b', 1, DataType::kBool},
    {'c', 8, DataType::kComplex64}, {'c', 16, DataType::kComplex128}};

// Byte order, kind letter, size: "<f4".
absl::Status SetElement(const std::string& descr, NpyArray* array) {
  const auto unknown = [&] {
    return Bad(FormatString("holds elements of type '{}', which no model takes", descr))
        .Remedy("save numbers, bool or fixed-width strings (dtype S or U)");
  };
  if (descr.size() < 2 || std::string_view("<>|=").find(descr[0]) == std::string_view::npos) {
    return unknown();
  }
  if (descr[1] == 'O') {
    return Bad("holds pickled Python objects, which are never loaded")
        .Remedy("save numbers, bool or fixed-width strings (dtype S or U)");
  }
  uint64_t size = 0;
  const char* end = descr.data() + descr.size();
  const auto [rest, error] = std::from_chars(descr.data() + 2, end, size);
  if (error != std::errc() || rest != end) return unknown();
  array->big_endian = descr[0] == '>';
  if (descr[1] == 'S' || descr[1] == 'U') {
    if (size == 0 || size > kMaxStringItem / 4) return unknown();
    array->element = descr[1] == 'S' ? NpyArray::Element::kBytes : NpyArray::Element::kUnicode;
    array->type = DataType::kString;
    array->item_size = descr[1] == 'S' ? size : 4 * size;
    return absl::OkStatus();
  }
  for (const NumberType& known : kNumberTypes) {
    if (known.kind == descr[1] && static_cast<uint64_t>(known.size) == size) {
      array->type = known.type;
      array->item_size = size;
      return absl::OkStatus();
    }
  }
  return unknown();
}

// Size of the unit whose bytes are swapped: complex numbers are two.
uint64_t SwapUnit(const NpyArray& array) {
  if (array.element == NpyArray::Element::kUnicode) return 4;
  const bool is_complex = array.type == DataType::kComplex64 || array.type == DataType::kComplex128;
  return is_complex ? array.item_size / 2 : array.item_size;
}

void AppendUtf8(uint32_t point, std::string* text) {
  if (point < 0x80) {
    *text += static_cast<char>(point);
  } else if (point < 0x800) {
    *text += static_cast<char>(0xC0 | point >> 6);
    *text += static_cast<char>(0x80 | (point & 0x3F));
  } else if (point < 0x10000) {
    *text += static_cast<char>(0xE0 | point >> 12);
    *text += static_cast<char>(0x80 | (point >> 6 & 0x3F));
    *text += static_cast<char>(0x80 | (point & 0x3F));
  } else {
    *text += static_cast<char>(0xF0 | point >> 18);
    *text += static_cast<char>(0x80 | (point >> 12 & 0x3F));
    *text += static_cast<char>(0x80 | (point >> 6 & 0x3F));
    *text += static_cast<char>(0x80 | (point & 0x3F));
  }
}

absl::StatusOr<std::string> StringElement(const NpyArray& array, const std::byte* item) {
  if (array.element == NpyArray::Element::kBytes) {
    std::string_view text(reinterpret_cast<const char*>(item), array.item_size);
    const size_t last = text.find_last_not_of('\0');
    return std::string(text.substr(0, last == std::string_view::npos ? 0 : last + 1));
  }
  uint64_t points = array.item_size / 4;
  const auto point_at = [&](uint64_t i) {
    uint32_t point;
    std::memcpy(&point, item + 4 * i, 4);
    return array.big_endian ? __builtin_bswap32(point) : point;
  };
  while (points > 0 && point_at(points - 1) == 0) --points;
  std::string text;
  for (uint64_t i = 0; i < points; ++i) {
    const uint32_t point = point_at(i);
    if (point > 0x10FFFF || (point >= 0xD800 && point < 0xE000)) {
      return Bad(FormatString("holds {:#x}, which is no Unicode character", point));
    }
    AppendUtf8(point, &text);
  }
  return text;
}

// Walks elements in row-major order of the result and gives each one's place in the file, whatever the file's order.
class ElementWalk {
 public:
  ElementWalk(const NpyArray& array, uint64_t first_row) : dims_(array.dims), index_(dims_.size()) {
    strides_.resize(dims_.size());
    uint64_t stride = 1;
    for (size_t i = 0; i < dims_.size(); ++i) {
      const size_t axis = array.fortran_order ? i : dims_.size() - 1 - i;
      strides_[axis] = stride;
      stride *= static_cast<uint64_t>(dims_[axis]);
    }
    if (!dims_.empty()) at_ = first_row * strides_[0];
  }

  uint64_t at() const { return at_; }
  void Next() {
    for (size_t axis = dims_.size(); axis-- > 0;) {
      at_ += strides_[axis];
      if (axis == 0 || ++index_[axis] < static_cast<uint64_t>(dims_[axis])) return;
      at_ -= strides_[axis] * index_[axis];
      index_[axis] = 0;
    }
  }

 private:
  const std::vector<int64_t>& dims_;
  std::vector<uint64_t> strides_;
  std::vector<uint64_t> index_;
  uint64_t at_ = 0;
};

// Elements of the result starting at row `first_row`; `dims` are the result's.
absl::StatusOr<Tensor> Convert(const NpyArray& array, uint64_t first_row,
                               std::vector<int64_t> dims) {
  std::span<std::byte> target;
  MP_ASSIGN_OR_RETURN(Tensor tensor, Tensor::Make(array.type, std::move(dims), &target));
  ElementWalk walk(array, first_row);
  const std::byte* const source = array.data.bytes.data();
  const uint64_t count = tensor.element_count();
  const uint64_t size = array.item_size;
  for (uint64_t i = 0; i < count; ++i, walk.Next()) {
    const std::byte* item = source + walk.at() * size;
    if (array.type == DataType::kString) {
      MP_ASSIGN_OR_RETURN(tensor.strings[i], StringElement(array, item));
    } else {
      std::memcpy(target.data() + i * size, item, size);
    }
  }
  if (array.big_endian && array.type != DataType::kString) {
    const uint64_t unit = SwapUnit(array);
    for (uint64_t i = 0; i < target.size(); i += unit) {
      std::reverse(target.begin() + static_cast<ptrdiff_t>(i),
                   target.begin() + static_cast<ptrdiff_t>(i + unit));
    }
  }
  return tensor;
}

absl::StatusOr<Tensor> Elements(const NpyArray& array, uint64_t first_row,
                                std::vector<int64_t> dims) {
  const bool needs_work = array.type == DataType::kString || array.big_endian ||
                          (array.fortran_order && array.dims.size() > 1);
  if (needs_work) return Convert(array, first_row, std::move(dims));
  MP_ASSIGN_OR_RETURN(const uint64_t count, ElementCount(dims));
  const uint64_t rows = array.dims.empty() ? 1 : static_cast<uint64_t>(array.dims[0]);
  const uint64_t row_size = rows == 0 ? 0 : array.data.bytes.size() / rows;
  const std::span<const std::byte> bytes =
      array.data.bytes.subspan(first_row * row_size, count * array.item_size);
  const uint64_t alignment = std::min<uint64_t>(SwapUnit(array), 8);
  if (reinterpret_cast<uintptr_t>(bytes.data()) % alignment == 0) {
    Tensor tensor{.type = array.type, .dims = std::move(dims)};
    tensor.bytes = bytes;
    tensor.owner = array.data.owner;
    return tensor;
  }
  std::span<std::byte> target;
  MP_ASSIGN_OR_RETURN(Tensor tensor, Tensor::Make(array.type, std::move(dims), &target));
  std::ranges::copy(bytes, target.begin());
  return tensor;
}

}  // namespace

absl::StatusOr<NpyArray> NpyArray::Parse(SharedBytes file) {
  const std::span<const std::byte> bytes = file.bytes;
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (!text.starts_with(kMagic) || text.size() < 10) return Bad("does not begin as one");
  const int major = static_cast<unsigned char>(text[6]);
  if (major < 1 || major > 3) return Bad(FormatString("has the unknown version {}", major));
  const size_t length_bytes = major == 1 ? 2 : 4;
  const size_t header_at = 8 + length_bytes;
  if (text.size() < header_at) return Bad("ends within its header");
  uint64_t header_size = 0;
  for (size_t i = 0; i < length_bytes; ++i) {
    header_size |= static_cast<uint64_t>(static_cast<unsigned char>(text[8 + i])) << (8 * i);
  }
  if (header_size > kMaxHeader) {
    return Bad(FormatString("has a header of {} bytes, more than {}", header_size, kMaxHeader));
  }
  if (header_size > text.size() - header_at) return Bad("ends within its header");
  MP_ASSIGN_OR_RETURN(NpyHeader header, ParseNpyHeader(text.substr(header_at, header_size)));

  NpyArray array;
  MP_RETURN_IF_ERROR(SetElement(header.descr, &array));
  array.fortran_order = header.fortran_order;
  array.dims = std::move(header.shape);
  const absl::StatusOr<uint64_t> count = ElementCount(array.dims);
  uint64_t size = 0;
  if (!count.ok() || __builtin_mul_overflow(*count, array.item_size, &size)) {
    return Bad("has a shape whose size overflows");
  }
  const uint64_t available = bytes.size() - header_at - header_size;
  if (size != available) {
    return Bad(FormatString("has {} bytes of elements where its shape needs {}", available, size));
  }
  array.data = {bytes.subspan(header_at + header_size), std::move(file.owner)};
  return array;
}

absl::StatusOr<Tensor> NpyArray::Rows(uint64_t first, uint64_t count) const {
  if (dims.empty() || first > static_cast<uint64_t>(dims[0]) ||
      count > static_cast<uint64_t>(dims[0]) - first) {
    return Error(ERROR_REASON_INTERNAL_BUG, "rows were asked for that the array does not have");
  }
  std::vector<int64_t> extents = dims;
  extents[0] = static_cast<int64_t>(count);
  return Elements(*this, first, std::move(extents));
}

absl::StatusOr<Tensor> NpyArray::All() const { return Elements(*this, 0, dims); }

absl::StatusOr<Tensor> ReadNpy(std::span<const std::byte> bytes,
                               std::shared_ptr<const void> owner) {
  MP_ASSIGN_OR_RETURN(const NpyArray array, NpyArray::Parse({bytes, std::move(owner)}));
  return array.All();
}

}  // namespace modelpress
