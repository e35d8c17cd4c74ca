// Values of the schema's JSON: see schema_json.h.
#include "core/formats/pt2/schema_json.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "core/base/format_string.h"
#include "core/base/status.h"

namespace modelpress::pt2 {
namespace {

using nlohmann::json;

// So that sums of extents, paddings and windows stay within 64 bits.
constexpr int64_t kMaxExtent = int64_t{1} << 40;

}  // namespace

absl::Status Bad(std::string_view what) {
  return Error(ERROR_REASON_MODEL_MALFORMED,
               FormatString("the exported program is not valid: {}", what));
}

const json* Member(const json& object, std::string_view key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() ? nullptr : &*found;
}

absl::StatusOr<std::string> Text(const json& object, std::string_view key) {
  const json* value = Member(object, key);
  if (value == nullptr || !value->is_string())
    return Bad(FormatString("'{}' is missing or no text", key));
  return value->get<std::string>();
}

absl::StatusOr<int64_t> Int(const json& value) {
  if (!value.is_number_integer()) return Bad("a number is no integer");
  if (value.is_number_unsigned() &&
      value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return Bad("an integer has more than 64 bits");
  }
  return value.get<int64_t>();
}

absl::StatusOr<double> Float(const json& value) {
  if (value.is_number()) return value.get<double>();
  if (value.is_string()) {
    const std::string text = value.get<std::string>();
    if (text == "Infinity" || text == "inf") return std::numeric_limits<double>::infinity();
    if (text == "-Infinity" || text == "-inf") return -std::numeric_limits<double>::infinity();
    if (text == "NaN" || text == "nan") return std::numeric_limits<double>::quiet_NaN();
  }
  return Bad("a number is none");
}

absl::StatusOr<const json*> Array(const json& value) {
  if (!value.is_array()) return Bad("a list is none");
  return &value;
}

absl::StatusOr<Extent> ParseExtent(const json& value) {
  if (const json* number = Member(value, "as_int"); number != nullptr) {
    MP_ASSIGN_OR_RETURN(const int64_t extent, Int(*number));
    return Extent{.value = extent};
  }
  const json* expression = Member(value, "as_expr");
  if (expression == nullptr) return Bad("an extent is neither a number nor an expression");
  MP_ASSIGN_OR_RETURN(std::string text, Text(*expression, "expr_str"));
  // Before version 8 of the schema symbols are plain names, and longer expressions are as people write them: those are
  // compared, but not understood.
  const bool plain = !text.empty() && std::ranges::all_of(text, [](char letter) {
    return absl::ascii_isalnum(static_cast<unsigned char>(letter)) || letter == '_';
  });
  if (plain) text = absl::StrCat("Symbol('", text, "', positive=True, integer=True)");
  return Extent{.expression = std::move(text)};
}

absl::StatusOr<TensorMeta> ParseTensorMeta(const json& source) {
  const json *type = Member(source, "dtype"), *sizes = Member(source, "sizes");
  if (type == nullptr || sizes == nullptr || !sizes->is_array())
    return Bad("a tensor has no dtype or sizes");
  TensorMeta meta;
  MP_ASSIGN_OR_RETURN(const int64_t number, Int(*type));
  meta.type = number >= 0 && number < 64 ? static_cast<ScalarType>(number) : ScalarType::kUnknown;
  if (sizes->size() > 64) return Bad("a tensor has more than 64 axes");
  for (const json& size : *sizes) {
    MP_ASSIGN_OR_RETURN(meta.sizes.emplace_back(), ParseExtent(size));
    const int64_t extent = meta.sizes.back().value.value_or(0);
    if (extent < 0 || extent > kMaxExtent) return Bad("a tensor has a negative or absurd extent");
  }
  if (const json* strides = Member(source, "strides"); strides != nullptr && strides->is_array()) {
    for (const json& stride : *strides) {
      MP_ASSIGN_OR_RETURN(const Extent value, ParseExtent(stride));
      if (!value.value.has_value()) {
        meta.strides.clear();
        break;
      }
      meta.strides.push_back(*value.value);
    }
  }
  if (const json* offset = Member(source, "storage_offset"); offset != nullptr) {
    MP_ASSIGN_OR_RETURN(const Extent value, ParseExtent(*offset));
    meta.storage_offset = value.value.value_or(0);
  }
  return meta;
}

}  // namespace modelpress::pt2
