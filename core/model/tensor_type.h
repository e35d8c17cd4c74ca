// Element types of tensors: sizes and names, in one table (onnx.proto, TensorProto.DataType).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "absl/status/statusor.h"

namespace modelpress {

// The numbers of onnx::TensorProto::DataType, repeated so that headers need not include onnx.
enum class DataType : int32_t {
  kUndefined = 0,
  kFloat = 1,
  kUint8 = 2,
  kInt8 = 3,
  kUint16 = 4,
  kInt16 = 5,
  kInt32 = 6,
  kInt64 = 7,
  kString = 8,
  kBool = 9,
  kFloat16 = 10,
  kDouble = 11,
  kUint32 = 12,
  kUint64 = 13,
  kComplex64 = 14,
  kComplex128 = 15,
  kBfloat16 = 16,
  kFloat8E4M3FN = 17,
  kFloat8E4M3FNUZ = 18,
  kFloat8E5M2 = 19,
  kFloat8E5M2FNUZ = 20,
  kUint4 = 21,
  kInt4 = 22,
  kFloat4E2M1 = 23,
};

// Bits of one element; 0 for strings and unknown types.
int BitsPerElement(DataType type);
// "float32", "int8", "bfloat16", ...; "unknown" otherwise.
std::string_view DataTypeName(DataType type);
bool IsFloatingPoint(DataType type);

// Product of dims; MODEL_MALFORMED on a negative extent or overflow of 2^63.
absl::StatusOr<uint64_t> ElementCount(std::span<const int64_t> dims);
// Bytes of that many elements, 4-bit types packed two to a byte over the whole tensor; MODEL_MALFORMED on overflow and
// for types without a fixed size.
absl::StatusOr<uint64_t> ByteCount(DataType type, uint64_t elements);

}  // namespace modelpress
