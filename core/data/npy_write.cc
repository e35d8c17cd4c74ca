// Writing .npy arrays, version 1.0: see npy.h.
#include <algorithm>
#include <cstring>

#include "core/base/format_string.h"
#include "core/base/utf8.h"
#include "core/data/npy.h"

namespace modelpress {
namespace {

std::string Header(const std::string& descr, const std::vector<int64_t>& dims) {
  std::string shape;
  for (const int64_t extent : dims) shape += FormatString("{}, ", extent);
  // "(3,)" and "(3, 4)", as NumPy writes them.
  if (dims.size() == 1) shape.pop_back();
  if (dims.size() > 1) shape.resize(shape.size() - 2);
  std::string dict =
      FormatString("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", descr, shape);
  // Elements start at a multiple of 64, so that a mapped file is aligned.
  while ((10 + dict.size() + 1) % 64 != 0) dict += ' ';
  dict += '\n';
  std::string header = "\x93NUMPY";
  header += '\1';
  header += '\0';
  header += static_cast<char>(dict.size() & 0xFF);
  header += static_cast<char>(dict.size() >> 8);
  return header + dict;
}

// NumPy's type string for elements whose bytes are written as they are; empty for the others.
std::string_view Descr(DataType type) {
  switch (type) {
    case DataType::kFloat:
      return "<f4";
    case DataType::kDouble:
      return "<f8";
    case DataType::kFloat16:
      return "<f2";
    case DataType::kInt8:
      return "|i1";
    case DataType::kInt16:
      return "<i2";
    case DataType::kInt32:
      return "<i4";
    case DataType::kInt64:
      return "<i8";
    case DataType::kUint8:
      return "|u1";
    case DataType::kUint16:
      return "<u2";
    case DataType::kUint32:
      return "<u4";
    case DataType::kUint64:
      return "<u8";
    case DataType::kBool:
      return "|b1";
    case DataType::kComplex64:
      return "<c8";
    case DataType::kComplex128:
      return "<c16";
    default:
      return "";
  }
}

std::vector<uint32_t> CodePoints(std::string_view utf8) {
  std::vector<uint32_t> points;
  for (size_t i = 0; i < utf8.size();) {
    const auto lead = static_cast<unsigned char>(utf8[i]);
    const int length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    uint32_t point = length == 1 ? lead : lead & (0x7Fu >> length);
    for (int k = 1; k < length; ++k) {
      point = point << 6 | (static_cast<unsigned char>(utf8[i + k]) & 0x3F);
    }
    points.push_back(point);
    i += static_cast<size_t>(length);
  }
  return points;
}

// U where every string is UTF-8 and some are not ASCII, else S.
std::string WriteStrings(const Tensor& tensor) {
  const bool ascii = std::ranges::all_of(tensor.strings, [](const std::string& text) {
    return std::ranges::all_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  });
  if (ascii || !std::ranges::all_of(tensor.strings, IsUtf8)) {
    size_t width = 1;
    for (const std::string& text : tensor.strings) width = std::max(width, text.size());
    std::string out = Header(FormatString("|S{}", width), tensor.dims);
    for (const std::string& text : tensor.strings) {
      out += text;
      out.append(width - text.size(), '\0');
    }
    return out;
  }
  std::vector<std::vector<uint32_t>> rows;
  size_t width = 1;
  for (const std::string& text : tensor.strings) {
    rows.push_back(CodePoints(text));
    width = std::max(width, rows.back().size());
  }
  std::string out = Header(FormatString("<U{}", width), tensor.dims);
  for (std::vector<uint32_t>& row : rows) {
    row.resize(width);
    out.append(reinterpret_cast<const char*>(row.data()), width * sizeof(uint32_t));
  }
  return out;
}

template <typename T>
std::string WriteWidened(const Tensor& tensor, const std::string& descr) {
  std::string out = Header(descr, tensor.dims);
  for (uint64_t i = 0; i < tensor.element_count(); ++i) {
    const T value = static_cast<T>(ElementAsDouble(tensor, i));
    out.append(reinterpret_cast<const char*>(&value), sizeof(T));
  }
  return out;
}

}  // namespace

std::string WriteNpy(const Tensor& tensor) {
  if (tensor.type == DataType::kString) return WriteStrings(tensor);
  if (tensor.type == DataType::kInt4) return WriteWidened<int8_t>(tensor, "|i1");
  if (tensor.type == DataType::kUint4) return WriteWidened<uint8_t>(tensor, "|u1");
  const std::string descr(Descr(tensor.type));
  if (descr.empty()) return WriteWidened<float>(tensor, "<f4");
  std::string out = Header(descr, tensor.dims);
  out.append(reinterpret_cast<const char*>(tensor.bytes.data()), tensor.bytes.size());
  return out;
}

}  // namespace modelpress
