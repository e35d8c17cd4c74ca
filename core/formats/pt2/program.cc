// The typed graphs of an exported program: see program.h.
#include "core/formats/pt2/program.h"

#include <algorithm>

namespace modelpress::pt2 {

bool IsComplex(ScalarType type) {
  return type == ScalarType::kComplex32 || type == ScalarType::kComplex64 ||
         type == ScalarType::kComplex128;
}

DataType ToOnnxType(ScalarType type) {
  switch (type) {
    case ScalarType::kUint8:
      return DataType::kUint8;
    case ScalarType::kInt8:
      return DataType::kInt8;
    case ScalarType::kInt16:
      return DataType::kInt16;
    case ScalarType::kInt32:
      return DataType::kInt32;
    case ScalarType::kInt64:
      return DataType::kInt64;
    case ScalarType::kFloat16:
    case ScalarType::kComplex32:
      return DataType::kFloat16;
    case ScalarType::kFloat32:
    case ScalarType::kComplex64:
      return DataType::kFloat;
    case ScalarType::kFloat64:
    case ScalarType::kComplex128:
      return DataType::kDouble;
    case ScalarType::kBool:
      return DataType::kBool;
    case ScalarType::kBfloat16:
      return DataType::kBfloat16;
    case ScalarType::kUint16:
      return DataType::kUint16;
    case ScalarType::kFloat8E4M3FN:
      return DataType::kFloat8E4M3FN;
    case ScalarType::kFloat8E5M2:
      return DataType::kFloat8E5M2;
    case ScalarType::kUnknown:
      break;
  }
  return DataType::kUndefined;
}

std::string_view ScalarTypeName(ScalarType type) {
  switch (type) {
    case ScalarType::kComplex32:
      return "complex32";
    case ScalarType::kComplex64:
      return "complex64";
    case ScalarType::kComplex128:
      return "complex128";
    default:
      return DataTypeName(ToOnnxType(type));
  }
}

bool TensorMeta::is_static() const {
  return std::ranges::all_of(sizes, [](const Extent& extent) { return extent.value.has_value(); });
}

std::vector<int64_t> TensorMeta::dims() const {
  std::vector<int64_t> result;
  for (const Extent& extent : sizes) result.push_back(extent.value.value_or(-1));
  return result;
}

std::vector<std::string> Node::OutputNames() const {
  std::vector<std::string> names;
  for (const Argument& output : outputs) {
    if (output.kind == Argument::Kind::kTensors) {
      names.insert(names.end(), output.names.begin(), output.names.end());
    } else {
      names.push_back(output.text);
    }
  }
  return names;
}

std::string_view ShortTarget(std::string_view target) {
  constexpr std::string_view kPrefix = "torch.ops.";
  if (target.starts_with(kPrefix)) target.remove_prefix(kPrefix.size());
  return target;
}

}  // namespace modelpress::pt2
