// Arithmetic of two or three operands, with PyTorch's type promotion: the result's type is the one that is computed in.
//
//   add, sub, mul, div, maximum, minimum, pow -> the ONNX operator; alpha is multiplied in first
//   div with rounding_mode, floor_divide      -> integers: (a - a mod b) / b; floats from fmod, as torch computes them:
//     a / b rounded down would be one too many where a / b is rounded up to a whole number (1 // 0.1 is 9)
//   remainder -> has the sign of the divisor; fmod -> that of the dividend
//   atan2 -> Atan(y / x) with its quadrant      clamp -> Clip, or Max and Min of tensors
#include <numbers>

#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {
namespace {

struct Pair {
  DataType type;
  std::string a, b;
};

Pair Operands(OperatorContext& c, std::string_view a = "self", std::string_view b = "other") {
  const DataType type = ComputeType(c.Target().type);
  Pair pair{.type = type};
  pair.a = c.InAs(a, type);
  pair.b = c.InAs(b, type);
  return pair;
}

std::string TimesAlpha(OperatorContext& c, const std::string& value, DataType type) {
  if (!c.Has("alpha") || c.Float("alpha", 1) == 1) return value;
  return c.Add("Mul", {value, c.InAs("alpha", type)});
}

// Real and imaginary parts of a tensor, with a last axis of one; real ones have none ("").
std::pair<std::string, std::string> Parts(OperatorContext& c, std::string_view name,
                                          DataType type) {
  const std::string x = c.InAs(name, type);
  if (!c.IsTensor(name)) return {x, ""};
  const int rank = c.Rank(name);
  if (!IsComplex(c.Type(name))) return {rank == 0 ? x : c.Unsqueeze(x, {-1}), ""};
  return {c.Slice(x, rank, 0, 1), c.Slice(x, rank, 1, 2)};
}

void Complex(OperatorContext& c) {
  const DataType type = c.OutType();
  if (c.Has("alpha") && c.Float("alpha", 1) != 1)
    return c.Refuse("it takes complex numbers and an alpha");
  const auto [a, ai] = Parts(c, "self", type);
  const auto [b, bi] = Parts(c, "other", type);
  const std::string_view name = c.name();
  std::string real, imaginary;
  if (name == "mul") {
    real = c.Add("Mul", {a, b});
    if (!ai.empty() && !bi.empty()) real = c.Add("Sub", {real, c.Add("Mul", {ai, bi})});
    const std::string left = bi.empty() ? "" : c.Add("Mul", {a, bi}),
                      right = ai.empty() ? "" : c.Add("Mul", {ai, b});
    imaginary = left.empty() ? right : right.empty() ? left : c.Add("Add", {left, right});
  } else {
    const char* op = name == "add" ? "Add" : "Sub";
    real = c.Add(op, {a, b});
    const std::string zero = c.Number(type, 0);
    imaginary = c.Add(op, {ai.empty() ? zero : ai, bi.empty() ? zero : bi});
    if (ai.empty() || bi.empty()) imaginary = c.Add("Add", {imaginary, c.Add("Mul", {real, zero})});
  }
  c.Out(c.Concat({real, imaginary}, -1), type);
}

void Linear(OperatorContext& c) {
  if (IsComplex(c.Target().type)) return Complex(c);
  Pair pair = Operands(c);
  const std::string_view name = c.name();
  if (name == "mul" || name == "multiply") return c.Out(c.Add("Mul", {pair.a, pair.b}), pair.type);
  if (name == "rsub")
    return c.Out(c.Add("Sub", {pair.b, TimesAlpha(c, pair.a, pair.type)}), pair.type);
  pair.b = TimesAlpha(c, pair.b, pair.type);
  c.Out(c.Add(name == "add" ? "Add" : "Sub", {pair.a, pair.b}), pair.type);
}

// a rounded down to a multiple of b, divided by b, as c10::div_floor_floating does it.
std::string FloorDivide(OperatorContext& c, const Pair& pair) {
  const std::string &a = pair.a, &b = pair.b;
  if (pair.type == DataType::kInt32 || pair.type == DataType::kInt64) {
    return c.Add("Div", {c.Add("Sub", {a, c.Add("Mod", {a, b})}), b});
  }
  const std::string zero = c.Number(pair.type, 0);
  const std::string mod = c.Add("Mod", {a, b}, {{"fmod", int64_t{1}}});
  // A whole number but for rounding.
  const std::string quotient = c.Add("Round", {c.Add("Div", {c.Add("Sub", {a, mod}), b})});
  const std::string other_sign = c.Add("Less", {c.Add("Mul", {c.Add("Sign", {mod}), b}), zero});
  const std::string down = c.Add("Sub", {quotient, c.Cast(other_sign, DataType::kBool, pair.type)});
  return c.Add("Where", {c.Add("Equal", {b, zero}), c.Add("Div", {a, b}), down});
}

void Divide(OperatorContext& c) {
  const std::string mode = c.name() == "floor_divide" ? "floor" : c.Text("rounding_mode", "");
  const Pair pair = Operands(c);
  if (mode == "floor") return c.Out(FloorDivide(c, pair), pair.type);
  const std::string quotient = c.Add("Div", {pair.a, pair.b});
  if (mode != "trunc" || pair.type == DataType::kInt32 || pair.type == DataType::kInt64) {
    return c.Out(quotient, pair.type);
  }
  const std::string negative = c.Add("Less", {quotient, c.Number(pair.type, 0)});
  c.Out(c.Add("Where", {negative, c.Add("Ceil", {quotient}), c.Add("Floor", {quotient})}),
        pair.type);
}

void Remainder(OperatorContext& c) {
  const Pair pair = Operands(c);
  const bool integers = pair.type == DataType::kInt32 || pair.type == DataType::kInt64;
  if (c.name() == "fmod")
    return c.Out(c.Add("Mod", {pair.a, pair.b}, {{"fmod", int64_t{1}}}), pair.type);
  if (integers) return c.Out(c.Add("Mod", {pair.a, pair.b}), pair.type);
  const std::string zero = c.Number(pair.type, 0);
  const std::string mod = c.Add("Mod", {pair.a, pair.b}, {{"fmod", int64_t{1}}});
  // A rest of the other sign than the divisor.
  const std::string other_sign =
      c.Add("Less", {c.Add("Mul", {c.Add("Sign", {mod}), pair.b}), zero});
  c.Out(c.Add("Where", {other_sign, c.Add("Add", {mod, pair.b}), mod}), pair.type);
}

void Power(OperatorContext& c) {
  const Pair pair = Operands(c, "self", "exponent");
  if (c.Has("exponent") && !c.IsTensor("exponent") && c.Float("exponent", 0) == 2) {
    return c.Out(c.Add("Mul", {pair.a, pair.a}), pair.type);
  }
  c.Out(c.Add("Pow", {pair.a, pair.b}), pair.type);
}

void Extreme(OperatorContext& c) {
  const Pair pair = Operands(c);
  const std::string_view name = c.name();
  const bool is_max = name.contains("max");
  std::string y = c.Add(is_max ? "Max" : "Min", {pair.a, pair.b});
  if (IsFloating(c.Target().type) && name.starts_with("f")) {  // fmax, fmin pass NaN over
    const std::string a_nan = c.Add("IsNaN", {pair.a}), b_nan = c.Add("IsNaN", {pair.b});
    y = c.Add("Where", {a_nan, pair.b, c.Add("Where", {b_nan, pair.a, y})});
  }
  c.Out(y, pair.type);
}

void Clamp(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  std::string x = c.InAs("self", type);
  const bool tensors = c.IsTensor("min") || c.IsTensor("max");
  const std::string low = c.InAs("min", type), high = c.InAs("max", type);
  if (!tensors) {
    if (low.empty() && high.empty()) return c.Out(x, type);
    return c.Out(c.Add("Clip", {x, low, high}), type);
  }
  if (!low.empty()) x = c.Add("Max", {x, low});
  if (!high.empty()) x = c.Add("Min", {x, high});
  c.Out(x, type);
}

void Atan2(OperatorContext& c) {
  const DataType type = FloatOnly(c.Target().type);
  const std::string y = c.InAs("self", type), x = c.InAs("other", type);
  const std::string zero = c.Number(type, 0);
  // Instead of 0 a number so small that every y but 0 divided by it is infinite or close to it.
  const std::string tiny = c.Number(type, type == DataType::kFloat16 ? 6e-8 : 1e-45);
  const std::string divisor = c.Add("Where", {c.Add("Equal", {x, zero}), tiny, x});
  const std::string angle = c.Add("Atan", {c.Add("Div", {y, divisor})});
  const std::string half_turn =
      c.Add("Where", {c.Add("Less", {y, zero}), c.Number(type, -std::numbers::pi),
                      c.Number(type, std::numbers::pi)});
  const std::string left = c.Add("Where", {c.Add("Less", {x, zero}), half_turn, zero});
  c.Out(c.Add("Add", {angle, left}), type);
}

void Lerp(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const std::string start = c.InAs("self", type), end = c.InAs("end", type),
                    weight = c.InAs("weight", type);
  c.Out(c.Add("Add", {start, c.Add("Mul", {weight, c.Add("Sub", {end, start})})}), type);
}

void AddProduct(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  std::string product = c.Add(c.name() == "addcmul" ? "Mul" : "Div",
                              {c.InAs("tensor1", type), c.InAs("tensor2", type)});
  if (c.Has("value") && c.Float("value", 1) != 1)
    product = c.Add("Mul", {product, c.InAs("value", type)});
  c.Out(c.Add("Add", {c.InAs("self", type), product}), type);
}

void Other(OperatorContext& c) {
  const Pair pair = Operands(c);
  const std::string_view name = c.name();
  if (name == "hypot") {
    const std::string sum =
        c.Add("Add", {c.Add("Mul", {pair.a, pair.a}), c.Add("Mul", {pair.b, pair.b})});
    return c.Out(c.Add("Sqrt", {sum}), pair.type);
  }
  if (name == "xlogy" || name == "special_xlogy") {
    const std::string zero = c.Number(pair.type, 0);
    const std::string y = c.Add("Mul", {pair.a, c.Add("Log", {pair.b})});
    return c.Out(c.Add("Where", {c.Add("Equal", {pair.a, zero}), zero, y}), pair.type);
  }
  // logaddexp: the larger one + log(1 + exp(-difference))
  const std::string larger = c.Add("Max", {pair.a, pair.b});
  const std::string apart = c.Add("Abs", {c.Add("Sub", {pair.a, pair.b})});
  const std::string rest =
      c.Add("Log", {c.Add("Add", {c.Number(pair.type, 1), c.Add("Exp", {c.Add("Neg", {apart})})})});
  const std::string equal =
      c.Add("Equal", {pair.a, pair.b});  // infinities too, whose difference is NaN
  const std::string both = c.Add("Add", {pair.a, c.Number(pair.type, std::numbers::ln2)});
  c.Out(c.Add("Where", {equal, both, c.Add("Add", {larger, rest})}), pair.type);
}

}  // namespace

void RegisterPt2Operators_arithmetic(OperatorRegistry& registry) {
  registry.Add({"aten.add", "aten.sub", "aten.subtract", "aten.mul", "aten.multiply", "aten.rsub"},
               Linear);
  registry.Add({"aten.div", "aten.divide", "aten.true_divide", "aten.floor_divide"}, Divide);
  registry.Add({"aten.remainder", "aten.fmod"}, Remainder);
  registry.Add({"aten.pow", "aten.float_power"}, Power);
  registry.Add({"aten.maximum", "aten.minimum", "aten.fmax", "aten.fmin", "aten.max.other",
                "aten.min.other"},
               Extreme);
  registry.Add({"aten.clamp", "aten.clip", "aten.clamp_min", "aten.clamp_max"}, Clamp);
  registry.Add({"aten.atan2", "aten.arctan2"}, Atan2);
  registry.Add("aten.lerp", Lerp);
  registry.Add({"aten.addcmul", "aten.addcdiv"}, AddProduct);
  registry.Add({"aten.hypot", "aten.xlogy", "aten.special_xlogy", "aten.logaddexp"}, Other);
}

}  // namespace modelpress::pt2
