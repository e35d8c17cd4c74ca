// Element types: see tensor_type.h.
#include "core/model/tensor_type.h"

#include <array>

#include "core/base/format_string.h"
#include "core/base/status.h"

namespace modelpress {
namespace {

struct TypeFacts {
  std::string_view name;
  int bits;
  bool floating_point;
};

// Indexed by the enum's value.
constexpr std::array<TypeFacts, 24> kTypes = {{
    {"undefined", 0, false},     {"float32", 32, true},   {"uint8", 8, false},
    {"int8", 8, false},          {"uint16", 16, false},   {"int16", 16, false},
    {"int32", 32, false},        {"int64", 64, false},    {"string", 0, false},
    {"bool", 8, false},          {"float16", 16, true},   {"float64", 64, true},
    {"uint32", 32, false},       {"uint64", 64, false},   {"complex64", 64, false},
    {"complex128", 128, false},  {"bfloat16", 16, true},  {"float8e4m3fn", 8, true},
    {"float8e4m3fnuz", 8, true}, {"float8e5m2", 8, true}, {"float8e5m2fnuz", 8, true},
    {"uint4", 4, false},         {"int4", 4, false},      {"float4e2m1", 4, true},
}};

const TypeFacts* Facts(DataType type) {
  const auto index = static_cast<uint32_t>(type);
  return index < kTypes.size() ? &kTypes[index] : nullptr;
}

}  // namespace

int BitsPerElement(DataType type) {
  const TypeFacts* facts = Facts(type);
  return facts != nullptr ? facts->bits : 0;
}

std::string_view DataTypeName(DataType type) {
  const TypeFacts* facts = Facts(type);
  return facts != nullptr ? facts->name : "unknown";
}

bool IsFloatingPoint(DataType type) {
  const TypeFacts* facts = Facts(type);
  return facts != nullptr && facts->floating_point;
}

absl::StatusOr<uint64_t> ElementCount(std::span<const int64_t> dims) {
  constexpr uint64_t kLimit = uint64_t{1} << 63;
  uint64_t count = 1;
  bool empty = false;
  for (const int64_t extent : dims) {
    if (extent < 0) {
      return Error(
          ERROR_REASON_MODEL_MALFORMED,
          FormatString("a tensor's extent is {}, but data needs extents of 0 or more", extent));
    }
    // Zero is kept apart so that a zero extent does not hide an overflow of the others.
    if (extent == 0) {
      empty = true;
    } else if (__builtin_mul_overflow(count, static_cast<uint64_t>(extent), &count) ||
               count >= kLimit) {
      return Error(ERROR_REASON_MODEL_MALFORMED,
                   "the product of a tensor's extents is 2^63 or more");
    }
  }
  return empty ? 0 : count;
}

absl::StatusOr<uint64_t> ByteCount(DataType type, uint64_t elements) {
  const int bits = BitsPerElement(type);
  if (bits == 0) {
    return Error(ERROR_REASON_MODEL_MALFORMED,
                 FormatString("elements of type {} ({}) have no fixed size", DataTypeName(type),
                              static_cast<int32_t>(type)));
  }
  if (bits == 4) return elements / 2 + elements % 2;
  uint64_t bytes = 0;
  if (__builtin_mul_overflow(elements, static_cast<uint64_t>(bits / 8), &bytes)) {
    return Error(ERROR_REASON_MODEL_MALFORMED, "a tensor has 2^64 bytes or more");
  }
  return bytes;
}

}  // namespace modelpress
