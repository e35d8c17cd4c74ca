// Elementwise functions of one tensor.
//
//   sin, cos, exp, log, sqrt, erf, sigmoid, floor, ...  -> the ONNX operator of that name
//   rsqrt -> Reciprocal(Sqrt)    square -> x * x    log2, log10 -> Log / log(base)    trunc -> Where(x < 0, Ceil, Floor)
//   expm1 -> (exp(x) + 1) tanh(x/2), which is the same and loses nothing near 0
//   log1p -> log(u) + (x - (u - 1)) / u, u = 1 + x: what rounding took from u is put back
// Integers are promoted to float32 where the function is not one of integers; rounding leaves integers as they are.
#include <cmath>
#include <numbers>

#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {
namespace {

struct Simple {
  std::string_view name;
  const char* op;
  bool float_only;  // the runtime has no kernel for float64
};
constexpr Simple kSimple[] = {
    {"exp", "Exp", false},
    {"log", "Log", false},
    {"sqrt", "Sqrt", false},
    {"sin", "Sin", false},
    {"cos", "Cos", false},
    {"tan", "Tan", true},
    {"asin", "Asin", true},
    {"acos", "Acos", true},
    {"atan", "Atan", true},
    {"sinh", "Sinh", true},
    {"cosh", "Cosh", true},
    {"asinh", "Asinh", true},
    {"acosh", "Acosh", true},
    {"atanh", "Atanh", true},
    {"erf", "Erf", true},
    {"sigmoid", "Sigmoid", false},
    {"tanh", "Tanh", false},
    {"reciprocal", "Reciprocal", false},
    {"arcsin", "Asin", true},
    {"arccos", "Acos", true},
    {"arctan", "Atan", true},
    {"arcsinh", "Asinh", true},
    {"arccosh", "Acosh", true},
    {"arctanh", "Atanh", true},
    {"special_expit", "Sigmoid", false},
    {"special_erf", "Erf", true},
};

void Function(OperatorContext& c) {
  for (const Simple& simple : kSimple) {
    if (simple.name != c.name()) continue;
    const DataType type =
        simple.float_only ? FloatOnly(c.Target().type) : ComputeType(c.Target().type);
    return c.Out(c.Add(simple.op, {c.InAs("self", type)}), type);
  }
}

// Functions that keep integers: abs, neg, sign.
void Kept(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const std::string x = c.InAs("self", type);
  const std::string_view name = c.name();
  const char* op = name == "neg" || name == "negative"   ? "Neg"
                   : name == "abs" || name == "absolute" ? "Abs"
                                                         : "Sign";
  c.Out(c.Add(op, {x}), type);
}

void Absolute(OperatorContext& c) {
  if (!IsComplex(c.Type("self"))) return Kept(c);
  // Real and imaginary parts are the last axis.
  const DataType type = c.OutType();
  const std::string x = c.InAs("self", type);
  c.Out(c.Add("ReduceL2", {x, c.Ints64({-1})}, {{"keepdims", int64_t{0}}}), type);
}

std::string Truncated(OperatorContext& c, const std::string& x, DataType type) {
  return c.Add("Where",
               {c.Add("Less", {x, c.Number(type, 0)}), c.Add("Ceil", {x}), c.Add("Floor", {x})});
}

void Rounding(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  std::string x = c.InAs("self", type);
  if (!IsFloating(c.Target().type)) return c.Out(x, type);
  const std::string_view name = c.name();
  if (name == "trunc" || name == "fix") return c.Out(Truncated(c, x, type), type);
  if (name == "frac") return c.Out(c.Add("Sub", {x, Truncated(c, x, type)}), type);
  const int64_t decimals = c.Int("decimals", 0);
  if (name == "round" && decimals != 0) {
    const std::string power = c.Number(type, std::pow(10.0, static_cast<double>(decimals)));
    return c.Out(c.Add("Div", {c.Add("Round", {c.Add("Mul", {x, power})}), power}), type);
  }
  c.Out(c.Add(name == "floor" ? "Floor" : name == "ceil" ? "Ceil" : "Round", {x}), type);
}

void Composed(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const std::string x = c.InAs("self", type);
  const std::string_view name = c.name();
  if (name == "rsqrt") return c.Out(c.Add("Reciprocal", {c.Add("Sqrt", {x})}), type);
  if (name == "square") return c.Out(c.Add("Mul", {x, x}), type);
  if (name == "log2")
    return c.Out(c.Add("Div", {c.Add("Log", {x}), c.Number(type, std::numbers::ln2)}), type);
  if (name == "log10")
    return c.Out(c.Add("Div", {c.Add("Log", {x}), c.Number(type, std::numbers::ln10)}), type);
  if (name == "exp2") return c.Out(c.Add("Pow", {c.Number(type, 2), x}), type);
  if (name == "deg2rad")
    return c.Out(c.Add("Mul", {x, c.Number(type, std::numbers::pi / 180)}), type);
  if (name == "rad2deg")
    return c.Out(c.Add("Mul", {x, c.Number(type, 180 / std::numbers::pi)}), type);
  const std::string one = c.Number(type, 1);
  if (name == "logit" || name == "special_logit") {
    std::string p = x;
    if (c.Has("eps")) {
      const double eps = c.Float("eps", 0);
      p = c.Add("Clip", {p, c.Number(type, eps), c.Number(type, 1 - eps)});
    }
    return c.Out(c.Add("Log", {c.Add("Div", {p, c.Add("Sub", {one, p})})}), type);
  }
  if (name == "log1p") {
    const std::string u = c.Add("Add", {x, one});
    const std::string step = c.Add("Sub", {u, one});
    const std::string lost = c.Add("Div", {c.Add("Sub", {x, step}), u});
    // Nothing is lost at infinity and at -1, where this is inf - inf and 0 / 0.
    const std::string exact = c.Add("Equal", {x, step});
    const std::string rest = c.Add("Where", {exact, c.Number(type, 0), lost});
    return c.Out(c.Add("Add", {c.Add("Log", {u}), rest}), type);
  }
  // expm1
  const std::string half = c.Add("Tanh", {c.Add("Mul", {x, c.Number(type, 0.5)})});
  c.Out(c.Add("Mul", {c.Add("Add", {c.Add("Exp", {x}), one}), half}), type);
}

void Erfc(OperatorContext& c) {
  const DataType type = FloatOnly(c.Target().type);
  c.Out(c.Add("Sub", {c.Number(type, 1), c.Add("Erf", {c.InAs("self", type)})}), type);
}

void LogicalNot(OperatorContext& c) {
  c.Out(c.Add("Not", {c.InAs("self", DataType::kBool)}), DataType::kBool);
}

void BitwiseNot(OperatorContext& c) {
  if (c.Type("self") == ScalarType::kBool) return LogicalNot(c);
  c.Out(c.Add("BitwiseNot", {c.In("self")}));
}

void Test(OperatorContext& c) {
  const std::string_view name = c.name();
  if (!IsFloating(c.Type("self"))) {
    // No integer is NaN or infinite.
    const std::string value = c.model().Bool(name == "isfinite");
    return c.Out(c.Expand(value, c.Target()), DataType::kBool);
  }
  const DataType type =
      c.Type("self") == ScalarType::kFloat64 ? DataType::kDouble : DataType::kFloat;
  const std::string x = c.InAs("self", type);
  if (name == "isnan") return c.Out(c.Add("IsNaN", {x}), DataType::kBool);
  if (name == "isposinf")
    return c.Out(c.Add("IsInf", {x}, {{"detect_negative", int64_t{0}}}), DataType::kBool);
  if (name == "isneginf")
    return c.Out(c.Add("IsInf", {x}, {{"detect_positive", int64_t{0}}}), DataType::kBool);
  const std::string infinite = c.Add("IsInf", {x});
  if (name == "isinf") return c.Out(infinite, DataType::kBool);
  c.Out(c.Add("Not", {c.Add("Or", {infinite, c.Add("IsNaN", {x})})}), DataType::kBool);
}

void NanToNum(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const std::string x = c.InAs("self", type);
  if (!IsFloating(c.Target().type)) return c.Out(x, type);
  const double largest = c.Target().type == ScalarType::kFloat16    ? 65504
                         : c.Target().type == ScalarType::kFloat64  ? 1.7976931348623157e308
                         : c.Target().type == ScalarType::kBfloat16 ? 3.3895313892515355e38
                                                                    : 3.4028234663852886e38;
  std::string y = c.Add("Where", {c.Add("IsNaN", {x}), c.Number(type, c.Float("nan", 0)), x});
  y = c.Add("Where", {c.Add("IsInf", {x}, {{"detect_negative", int64_t{0}}}),
                      c.Number(type, c.Float("posinf", largest)), y});
  y = c.Add("Where", {c.Add("IsInf", {x}, {{"detect_positive", int64_t{0}}}),
                      c.Number(type, c.Float("neginf", -largest)), y});
  c.Out(y, type);
}

}  // namespace

void RegisterPt2Operators_unary(OperatorRegistry& registry) {
  for (const Simple& simple : kSimple)
    registry.Add(std::string("aten.").append(simple.name), Function);
  registry.Add({"aten.abs", "aten.absolute"}, Absolute);
  registry.Add({"aten.neg", "aten.negative", "aten.sign", "aten.sgn"}, Kept);
  registry.Add({"aten.floor", "aten.ceil", "aten.round", "aten.trunc", "aten.fix", "aten.frac"},
               Rounding);
  registry.Add({"aten.rsqrt", "aten.square", "aten.log2", "aten.log10", "aten.exp2", "aten.deg2rad",
                "aten.rad2deg", "aten.logit", "aten.special_logit", "aten.log1p", "aten.expm1"},
               Composed);
  registry.Add({"aten.erfc", "aten.special_erfc"}, Erfc);
  registry.Add("aten.logical_not", LogicalNot);
  registry.Add("aten.bitwise_not", BitwiseNot);
  registry.Add({"aten.isnan", "aten.isinf", "aten.isfinite", "aten.isposinf", "aten.isneginf"},
               Test);
  registry.Add("aten.nan_to_num", NanToNum);
}

}  // namespace modelpress::pt2
