// PyTorch's type promotion: see promotion.h.
#include "core/formats/pt2/promotion.h"

#include <algorithm>

namespace modelpress::pt2 {
namespace {

int Category(ScalarType type) {
  if (IsComplex(type)) return 3;
  if (IsFloating(type)) return 2;
  return type == ScalarType::kBool ? 0 : 1;
}

// Bytes of an integer or floating type.
int Width(ScalarType type) { return BitsPerElement(ToOnnxType(type)) / 8; }

}  // namespace

bool IsFloating(ScalarType type) { return IsFloatingPoint(ToOnnxType(type)) && !IsComplex(type); }

ScalarType PromoteTypes(ScalarType a, ScalarType b) {
  if (a == b || b == ScalarType::kUnknown) return a;
  if (a == ScalarType::kUnknown) return b;
  const int of_a = Category(a), of_b = Category(b);
  if (of_a == 3 || of_b == 3) {
    const bool wide = a == ScalarType::kComplex128 || b == ScalarType::kComplex128 ||
                      a == ScalarType::kFloat64 || b == ScalarType::kFloat64;
    return wide ? ScalarType::kComplex128 : ScalarType::kComplex64;
  }
  if (of_a != of_b) return of_a > of_b ? a : b;
  if (of_a == 2) {
    // float16 and bfloat16 hold what the other does not.
    if (Width(a) == Width(b)) return ScalarType::kFloat32;
    return Width(a) > Width(b) ? a : b;
  }
  if (Width(a) != Width(b)) {
    const ScalarType wide = Width(a) > Width(b) ? a : b, narrow = wide == a ? b : a;
    // An unsigned type as wide as uint16 takes signed ones only by growing.
    if (wide == ScalarType::kUint16 && narrow == ScalarType::kInt8) return ScalarType::kInt32;
    return wide;
  }
  // Signed and unsigned of one width.
  return Width(a) == 1 ? ScalarType::kInt16 : ScalarType::kInt32;
}

ScalarType ResultType(std::span<const Operand> operands) {
  ScalarType result = ScalarType::kUnknown;
  for (const Operand::Class kind :
       {Operand::Class::kTensor, Operand::Class::kZeroDimTensor, Operand::Class::kNumber}) {
    ScalarType type = ScalarType::kUnknown;
    for (const Operand& operand : operands) {
      if (operand.kind == kind) type = PromoteTypes(type, operand.type);
    }
    if (type == ScalarType::kUnknown) continue;
    if (result == ScalarType::kUnknown) {
      result = type;
    } else if (Category(type) > Category(result)) {
      // A number brings its category, not its width.
      if (kind == Operand::Class::kNumber && Category(type) == 2) type = ScalarType::kFloat32;
      result = PromoteTypes(result, type);
    }
  }
  return result;
}

}  // namespace modelpress::pt2
