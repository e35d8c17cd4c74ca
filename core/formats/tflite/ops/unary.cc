// Elementwise functions of one tensor: ABS, NEG, EXP, LOG, SQRT, RSQRT, SQUARE, SIN, COS, FLOOR, CEIL, ROUND, SIGN,
// LOGICAL_NOT (all versions; float32 and the integer types that LiteRT takes, codes through real numbers).
//
//   RSQRT -> Sqrt, Reciprocal      SQUARE -> Mul(x, x)      the others -> the ONNX operator of that name
// ROUND rounds halves to even in both.
#include "core/formats/tflite/operator.h"

namespace modelpress::tflite {
namespace {

template <typename Build>
absl::Status Unary(OperatorContext& c, const Build& build) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  const DataType type = c.ComputeType(c.Source(0));
  MP_ASSIGN_OR_RETURN(const std::string x, c.InAs(0, type));
  return c.Out(0, build(x), type);
}

template <const char* kOp>
absl::Status Named(OperatorContext& c) {
  return Unary(c, [&](const std::string& x) { return c.Add(kOp, {x}); });
}

constexpr char kAbs[] = "Abs", kNeg[] = "Neg", kExp[] = "Exp", kLog[] = "Log", kSqrt[] = "Sqrt",
               kSin[] = "Sin", kCos[] = "Cos", kFloor[] = "Floor", kCeil[] = "Ceil",
               kRound[] = "Round", kSign[] = "Sign";

absl::Status Rsqrt(OperatorContext& c) {
  return Unary(c, [&](const std::string& x) { return c.Add("Reciprocal", {c.Add("Sqrt", {x})}); });
}

absl::Status Square(OperatorContext& c) {
  return Unary(c, [&](const std::string& x) { return c.Add("Mul", {x, x}); });
}

absl::Status Not(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  MP_ASSIGN_OR_RETURN(const std::string x, c.Raw(0));
  return c.Out(0, c.Add("Not", {x}), DataType::kBool);
}

}  // namespace

void RegisterTfliteOperators_unary(OperatorRegistry& registry) {
  registry.Add(BuiltinOperator::ABS, Named<kAbs>);
  registry.Add(BuiltinOperator::NEG, Named<kNeg>);
  registry.Add(BuiltinOperator::EXP, Named<kExp>);
  registry.Add(BuiltinOperator::LOG, Named<kLog>);
  registry.Add(BuiltinOperator::SQRT, Named<kSqrt>);
  registry.Add(BuiltinOperator::SIN, Named<kSin>);
  registry.Add(BuiltinOperator::COS, Named<kCos>);
  registry.Add(BuiltinOperator::FLOOR, Named<kFloor>);
  registry.Add(BuiltinOperator::CEIL, Named<kCeil>);
  registry.Add(BuiltinOperator::ROUND, Named<kRound>);
  registry.Add(BuiltinOperator::SIGN, Named<kSign>);
  registry.Add(BuiltinOperator::RSQRT, Rsqrt);
  registry.Add(BuiltinOperator::SQUARE, Square);
  registry.Add(BuiltinOperator::LOGICAL_NOT, Not);
}

}  // namespace modelpress::tflite
