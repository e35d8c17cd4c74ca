// Elementwise StableHLO: STABLEHLO_ABS, _ADD, _AND, _CBRT, _CLAMP, _COMPARE, _CONVERT, _COSINE, _DIVIDE, _EXPONENTIAL,
// _FLOOR, _LOG, _LOGISTIC, _MAXIMUM, _MINIMUM, _MULTIPLY, _NEGATE, _OR, _POWER, _REMAINDER, _RSQRT, _SELECT, _SHIFT_LEFT,
// _SUBTRACT, _TANH (version 1; float32, integers, bool where it has a meaning). Both sides have one shape.
//
//   most -> the ONNX operator of that name             CBRT -> Sign(x) * Pow(Abs(x), 1/3)
//   AND, OR of integers -> BitwiseAnd, BitwiseOr       CLAMP -> Min(Max(x, low), high)
//   REMAINDER -> Mod, fmod (sign of the dividend)      SELECT -> Where
//   SHIFT_LEFT -> BitShift of the unsigned integers    CONVERT -> Cast
#include "core/formats/tflite/stablehlo.h"

namespace modelpress::tflite {
namespace {

absl::Status Unary(OperatorContext& c, std::string_view op) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  const DataType type = c.ComputeType(c.Source(0));
  MP_ASSIGN_OR_RETURN(const std::string x, c.InAs(0, type));
  return c.Out(0, c.Add(op, {x}), type);
}

absl::Status Binary(OperatorContext& c, std::string_view op, Attributes attributes = {}) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  const DataType type = c.ComputeType(c.Source(0));
  MP_ASSIGN_OR_RETURN(const std::string a, c.InAs(0, type));
  MP_ASSIGN_OR_RETURN(const std::string b, c.InAs(1, type));
  return c.Out(0, c.Add(op, {a, b}, std::move(attributes)), type);
}

absl::Status Logic(OperatorContext& c, std::string_view logical, std::string_view bitwise) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  const DataType type = ToOnnxType(c.Source(0).type);
  MP_ASSIGN_OR_RETURN(const std::string a, c.Raw(0));
  MP_ASSIGN_OR_RETURN(const std::string b, c.Raw(1));
  return c.Out(0, c.Add(type == DataType::kBool ? logical : bitwise, {a, b}), type);
}

absl::Status Rsqrt(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  MP_ASSIGN_OR_RETURN(const std::string x, c.In(0));
  return c.Out(0, c.Add("Reciprocal", {c.Add("Sqrt", {x})}), c.RealType(c.Source(0)));
}

absl::Status CubeRoot(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  MP_ASSIGN_OR_RETURN(const std::string x, c.InAs(0, DataType::kFloat));
  const std::string root = c.Add("Pow", {c.Add("Abs", {x}), c.model().Float(1.0f / 3)});
  return c.Out(0, c.Add("Mul", {c.Add("Sign", {x}), root}));
}

absl::Status Clamp(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(3, 1));
  const DataType type = c.ComputeType(c.Source(1));
  MP_ASSIGN_OR_RETURN(const std::string low, c.InAs(0, type));
  MP_ASSIGN_OR_RETURN(const std::string x, c.InAs(1, type));
  MP_ASSIGN_OR_RETURN(const std::string high, c.InAs(2, type));
  return c.Out(0, c.Add("Min", {c.Add("Max", {x, low}), high}), type);
}

absl::Status Compare(OperatorContext& c) {
  using schema::StablehloComparisonDirection;
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  const DataType type =
      c.Source(0).type == TensorType::BOOL ? DataType::kInt32 : c.ComputeType(c.Source(0));
  MP_ASSIGN_OR_RETURN(const std::string a, c.InAs(0, type));
  MP_ASSIGN_OR_RETURN(const std::string b, c.InAs(1, type));
  const auto direction = c.Options2<schema::StablehloCompareOptions>().comparison_direction();
  std::string y;
  switch (direction) {
    case StablehloComparisonDirection::EQ:
      y = c.Add("Equal", {a, b});
      break;
    case StablehloComparisonDirection::NE:
      y = c.Add("Not", {c.Add("Equal", {a, b})});
      break;
    case StablehloComparisonDirection::GE:
      y = c.Add("GreaterOrEqual", {a, b});
      break;
    case StablehloComparisonDirection::GT:
      y = c.Add("Greater", {a, b});
      break;
    case StablehloComparisonDirection::LE:
      y = c.Add("LessOrEqual", {a, b});
      break;
    case StablehloComparisonDirection::LT:
      y = c.Add("Less", {a, b});
      break;
    default:
      return c.Malformed("its direction is not known");
  }
  return c.Out(0, y, DataType::kBool);
}

absl::Status Convert(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  MP_ASSIGN_OR_RETURN(const std::string x, c.In(0));
  return c.Out(0, x, c.RealType(c.Source(0)));
}

absl::Status Select(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(3, 1));
  const bool as_it_is =
      c.Source(1).type == TensorType::BOOL || c.Source(1).type == TensorType::UINT8;
  const DataType type = as_it_is ? DataType::kUint8 : c.ComputeType(c.Source(1));
  MP_ASSIGN_OR_RETURN(const std::string condition, c.Raw(0));
  MP_ASSIGN_OR_RETURN(const std::string a, c.InAs(1, type));
  MP_ASSIGN_OR_RETURN(const std::string b, c.InAs(2, type));
  return c.Out(0, c.Add("Where", {condition, a, b}), type);
}

absl::Status ShiftLeft(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  const int bits = BitsPerElement(ToOnnxType(c.Source(0).type));
  if (IsQuantized(c.Source(0)) || bits < 8) return c.Unsupported("its type is no plain integer");
  const DataType type = bits == 64 ? DataType::kUint64 : DataType::kUint32;
  MP_ASSIGN_OR_RETURN(const std::string x, c.InAs(0, type));
  MP_ASSIGN_OR_RETURN(const std::string amount, c.InAs(1, type));
  return c.Out(0, c.Add("BitShift", {x, amount}, {{"direction", std::string("LEFT")}}), type);
}

}  // namespace

void RegisterTfliteOperators_stablehlo_elementwise(OperatorRegistry& registry) {
  registry.Add(BuiltinOperator::STABLEHLO_ABS, [](OperatorContext& c) { return Unary(c, "Abs"); });
  registry.Add(BuiltinOperator::STABLEHLO_COSINE,
               [](OperatorContext& c) { return Unary(c, "Cos"); });
  registry.Add(BuiltinOperator::STABLEHLO_EXPONENTIAL,
               [](OperatorContext& c) { return Unary(c, "Exp"); });
  registry.Add(BuiltinOperator::STABLEHLO_FLOOR,
               [](OperatorContext& c) { return Unary(c, "Floor"); });
  registry.Add(BuiltinOperator::STABLEHLO_LOG, [](OperatorContext& c) { return Unary(c, "Log"); });
  registry.Add(BuiltinOperator::STABLEHLO_LOGISTIC,
               [](OperatorContext& c) { return Unary(c, "Sigmoid"); });
  registry.Add(BuiltinOperator::STABLEHLO_NEGATE,
               [](OperatorContext& c) { return Unary(c, "Neg"); });
  registry.Add(BuiltinOperator::STABLEHLO_TANH,
               [](OperatorContext& c) { return Unary(c, "Tanh"); });
  registry.Add(BuiltinOperator::STABLEHLO_ADD, [](OperatorContext& c) { return Binary(c, "Add"); });
  registry.Add(BuiltinOperator::STABLEHLO_DIVIDE,
               [](OperatorContext& c) { return Binary(c, "Div"); });
  registry.Add(BuiltinOperator::STABLEHLO_MAXIMUM,
               [](OperatorContext& c) { return Binary(c, "Max"); });
  registry.Add(BuiltinOperator::STABLEHLO_MINIMUM,
               [](OperatorContext& c) { return Binary(c, "Min"); });
  registry.Add(BuiltinOperator::STABLEHLO_MULTIPLY,
               [](OperatorContext& c) { return Binary(c, "Mul"); });
  registry.Add(BuiltinOperator::STABLEHLO_POWER,
               [](OperatorContext& c) { return Binary(c, "Pow"); });
  registry.Add(BuiltinOperator::STABLEHLO_SUBTRACT,
               [](OperatorContext& c) { return Binary(c, "Sub"); });
  registry.Add(BuiltinOperator::STABLEHLO_REMAINDER,
               [](OperatorContext& c) { return Binary(c, "Mod", {{"fmod", int64_t{1}}}); });
  registry.Add(BuiltinOperator::STABLEHLO_AND,
               [](OperatorContext& c) { return Logic(c, "And", "BitwiseAnd"); });
  registry.Add(BuiltinOperator::STABLEHLO_OR,
               [](OperatorContext& c) { return Logic(c, "Or", "BitwiseOr"); });
  registry.Add(BuiltinOperator::STABLEHLO_RSQRT, Rsqrt);
  registry.Add(BuiltinOperator::STABLEHLO_CBRT, CubeRoot);
  registry.Add(BuiltinOperator::STABLEHLO_CLAMP, Clamp);
  registry.Add(BuiltinOperator::STABLEHLO_COMPARE, Compare);
  registry.Add(BuiltinOperator::STABLEHLO_CONVERT, Convert);
  registry.Add(BuiltinOperator::STABLEHLO_SELECT, Select);
  registry.Add(BuiltinOperator::STABLEHLO_SHIFT_LEFT, ShiftLeft);
}

}  // namespace modelpress::tflite
