// Comparisons and logic of two tensors with broadcasting: EQUAL, NOT_EQUAL, GREATER, GREATER_EQUAL, LESS, LESS_EQUAL,
// LOGICAL_AND, LOGICAL_OR (all versions; float32, integers, bool, codes through real numbers). Strings are refused.
//
//   NOT_EQUAL -> Equal, Not      the others -> the ONNX operator of that name
#include "core/formats/tflite/operator.h"

namespace modelpress::tflite {
namespace {

absl::Status Compare(OperatorContext& c, std::string_view op, bool negate = false) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  if (c.Source(0).type == TensorType::STRING) return c.Unsupported("it compares strings");
  DataType type = c.ComputeType(c.Source(0));
  if (c.Source(0).type == TensorType::BOOL) type = DataType::kBool;
  MP_ASSIGN_OR_RETURN(const std::string a, c.InAs(0, type));
  MP_ASSIGN_OR_RETURN(const std::string b, c.InAs(1, type));
  std::string y = c.Add(op, {a, b});
  if (negate) y = c.Add("Not", {y});
  return c.Out(0, y, DataType::kBool);
}

}  // namespace

void RegisterTfliteOperators_comparison(OperatorRegistry& registry) {
  registry.Add(BuiltinOperator::EQUAL, [](OperatorContext& c) { return Compare(c, "Equal"); });
  registry.Add(BuiltinOperator::NOT_EQUAL,
               [](OperatorContext& c) { return Compare(c, "Equal", /*negate=*/true); });
  registry.Add(BuiltinOperator::GREATER, [](OperatorContext& c) { return Compare(c, "Greater"); });
  registry.Add(BuiltinOperator::GREATER_EQUAL,
               [](OperatorContext& c) { return Compare(c, "GreaterOrEqual"); });
  registry.Add(BuiltinOperator::LESS, [](OperatorContext& c) { return Compare(c, "Less"); });
  registry.Add(BuiltinOperator::LESS_EQUAL,
               [](OperatorContext& c) { return Compare(c, "LessOrEqual"); });
  registry.Add(BuiltinOperator::LOGICAL_AND, [](OperatorContext& c) { return Compare(c, "And"); });
  registry.Add(BuiltinOperator::LOGICAL_OR, [](OperatorContext& c) { return Compare(c, "Or"); });
}

}  // namespace modelpress::tflite
