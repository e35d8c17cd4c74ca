// Functions of single elements that are not among ONNX's operators.
//
//   copysign, signbit -> by the sign of x, of 1 / x where x is 0       heaviside -> Where      ldexp -> x * 2^n
//   logaddexp2 -> m + log2(1 + 2^-|a - b|)     sinc -> sin(pi x) / (pi x)      special_entr -> -x log(x)
//   trapezoid -> sums of neighbours      vander -> Pow
//   special_ndtr -> (1 + erf(x / sqrt(2))) / 2      nansum, nanmean, isreal, isin, equal, _safe_softmax -> their definitions
#include <cmath>
#include <limits>
#include <numbers>

#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {
namespace {

// Whether the sign bit is set: of zeros, that of 1 / x.
std::string Negative(OperatorContext& c, const std::string& x, ScalarType source, DataType type) {
  const std::string zero = c.Number(type, 0);
  if (!IsFloating(source)) return c.Add("Less", {x, zero});
  const std::string inverse = c.Add("Div", {c.Number(type, 1), x});
  return c.Add("Less", {c.Add("Where", {c.Add("Equal", {x, zero}), inverse, x}), zero});
}

void SignBit(OperatorContext& c) {
  const DataType type = ComputeType(c.Type("self"));
  c.Out(Negative(c, c.InAs("self", type), c.Type("self"), type), DataType::kBool);
}

void CopySign(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const std::string size = c.Add("Abs", {c.InAs("self", type)});
  const std::string negative = Negative(c, c.InAs("other", type), c.Target().type, type);
  c.Out(c.Add("Where", {negative, c.Add("Neg", {size}), size}), type);
}

void Heaviside(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const std::string x = c.InAs("self", type), zero = c.Number(type, 0);
  const std::string step = c.Add("Where", {c.Add("Less", {x, zero}), zero, c.Number(type, 1)});
  c.Out(c.Add("Where", {c.Add("Equal", {x, zero}), c.InAs("values", type), step}), type);
}

void TimesPowerOfTwo(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  c.Out(c.Add("Mul",
              {c.InAs("self", type), c.Add("Pow", {c.Number(type, 2), c.InAs("other", type)})}),
        type);
}

void LogAddExp2(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const std::string a = c.InAs("self", type), b = c.InAs("other", type), one = c.Number(type, 1);
  const std::string apart = c.Add("Neg", {c.Add("Abs", {c.Add("Sub", {a, b})})});
  const std::string rest =
      c.Add("Log", {c.Add("Add", {one, c.Add("Pow", {c.Number(type, 2), apart})})});
  const std::string scaled = c.Add("Mul", {rest, c.Number(type, std::numbers::log2e)});
  // Equal infinities have a difference of NaN.
  c.Out(c.Add("Where", {c.Add("Equal", {a, b}), c.Add("Add", {a, one}),
                        c.Add("Add", {c.Add("Max", {a, b}), scaled})}),
        type);
}

void Sinc(OperatorContext& c) {
  const DataType type = FloatOnly(c.Target().type);
  const std::string x = c.InAs("self", type);
  const std::string angle = c.Add("Mul", {x, c.Number(type, std::numbers::pi)});
  const std::string ratio = c.Add("Div", {c.Add("Sin", {angle}), angle});
  c.Out(c.Add("Where", {c.Add("Equal", {x, c.Number(type, 0)}), c.Number(type, 1), ratio}), type);
}

void Entropy(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const std::string x = c.InAs("self", type), zero = c.Number(type, 0);
  const std::string inside = c.Add("Neg", {c.Add("Mul", {x, c.Add("Log", {x})})});
  const std::string edge = c.Add("Where", {c.Add("Equal", {x, zero}), zero, inside});
  const std::string nothing = c.Number(type, -std::numeric_limits<double>::infinity());
  c.Out(c.Add("Where", {c.Add("Less", {x, zero}), nothing, edge}), type);
}

void NormalDistribution(OperatorContext& c) {
  const DataType type = FloatOnly(c.Target().type);
  const std::string erf =
      c.Add("Erf", {c.Add("Mul", {c.InAs("self", type), c.Number(type, std::numbers::sqrt2 / 2)})});
  c.Out(c.Add("Mul", {c.Add("Add", {erf, c.Number(type, 1)}), c.Number(type, 0.5)}), type);
}

void NanSum(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  std::string x = c.InAs("self", type);
  if (IsFloating(c.Type("self"))) x = c.Add("Where", {c.Add("IsNaN", {x}), c.Number(type, 0), x});
  const Ints axes = c.Axes("dim", c.Rank("self"));
  const auto sum = [&](const std::string& value) {
    return axes.empty() ? value
                        : c.Add("ReduceSum", {value, c.Ints64(axes)},
                                {{"keepdims", int64_t{c.Bool("keepdim", false)}}});
  };
  if (c.name() == "nansum") return c.Out(sum(x), type);
  const std::string is = c.Add("Not", {c.Add("IsNaN", {c.InAs("self", type)})});
  c.Out(c.Add("Div", {sum(x), sum(c.Cast(is, DataType::kBool, type))}), type);
}

// Of real numbers: pi where they are negative. (complex.cc has that of complex ones.)
void Angle(OperatorContext& c) {
  const DataType type = FloatOnly(c.Target().type);
  const std::string x = c.InAs("self", type), zero = c.Number(type, 0);
  const std::string side =
      c.Add("Where", {c.Add("Less", {x, zero}), c.Number(type, std::numbers::pi), zero});
  c.Out(c.Add("Where", {c.Add("IsNaN", {x}), x, side}), type);
}

void IsReal(OperatorContext& c) {
  if (IsComplex(c.Type("self"))) return c.Refuse("it takes complex numbers");
  c.Out(c.Expand(c.model().Bool(true), c.Target()), DataType::kBool);
}

// Whether all elements of truth values are true, as a value without axes.
std::string All(OperatorContext& c, const std::string& truth, int rank) {
  if (rank == 0) return truth;
  const std::string wrong = c.Cast(c.Add("Not", {truth}), DataType::kBool, DataType::kInt64);
  const std::string count = c.Add("ReduceSum", {wrong}, {{"keepdims", int64_t{0}}});
  return c.Add("Equal", {count, c.model().Int64(0)});
}

void IsIn(OperatorContext& c) {
  if (c.overload() != "Tensor_Tensor") return c.Refuse("it takes a number instead of a tensor");
  const DataType type = ComputeType(c.Common({"elements", "test_elements"}));
  const std::string x = c.Unsqueeze(c.InAs("elements", type), {-1});
  const std::string tests = c.Reshape(c.InAs("test_elements", type), Ints{-1});
  const std::string hits = c.Cast(c.Add("Equal", {x, tests}), DataType::kBool, DataType::kInt64);
  const std::string count = c.Add("ReduceSum", {hits, c.Ints64({-1})}, {{"keepdims", int64_t{0}}});
  c.Out(c.Add(c.Bool("invert", false) ? "Equal" : "Greater", {count, c.model().Int64(0)}),
        DataType::kBool);
}

void AllTrue(OperatorContext& c) {
  c.Out(All(c, c.InAs("self", DataType::kBool), c.Rank("self")), DataType::kBool);
}

void SafeSoftmax(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const std::string x = c.InAs("self", type);
  const int64_t axis = c.Axis("dim", -1, c.Rank("self"));
  const std::string y = c.Add("Softmax", {x}, {{"axis", axis}});
  // Rows of nothing but minus infinity give zeros; those with NaN stay NaN.
  const std::string nothing =
      c.Add("Equal", {x, c.Number(type, -std::numeric_limits<double>::infinity())});
  const std::string all =
      c.Add("ReduceMin", {c.Cast(nothing, DataType::kBool, DataType::kInt32), c.Ints64({axis})});
  c.Out(c.Add("Where", {c.Cast(all, DataType::kInt32, DataType::kBool), c.Number(type, 0), y}),
        type);
}

void Difference(OperatorContext& c) {
  if (c.Has("prepend") || c.Has("append")) return c.Refuse("it takes what goes before or after");
  const DataType type = ComputeType(c.Target().type);
  std::string x = c.InAs("self", type);
  const int64_t axis = c.Axis("dim", -1, c.Rank("self")), times = c.Int("n", 1);
  if (times < 0 || times > 64) return c.Refuse("it takes differences more than 64 times");
  if (c.Type("self") == ScalarType::kBool) return c.Refuse("it takes truth values");
  for (int64_t i = 0; i < times; ++i) {
    x = c.Add("Sub",
              {c.Slice(x, axis, 1, std::numeric_limits<int64_t>::max()), c.Slice(x, axis, 0, -1)});
  }
  c.Out(x, type);
}

// The area below neighbours, joined by straight lines; `dx` apart.
void Trapezoid(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const std::string y = c.InAs("y", type);
  if (c.Rank("y") == 0) return c.Refuse("its input has no axes");
  const int64_t axis = c.Axis("dim", -1, c.Rank("y"));
  const std::string pairs = c.Add(
      "Add", {c.Slice(y, axis, 1, std::numeric_limits<int64_t>::max()), c.Slice(y, axis, 0, -1)});
  const std::string areas = c.Add("Mul", {pairs, c.Number(type, c.Float("dx", 1) / 2)});
  if (c.name() == "cumulative_trapezoid")
    return c.Out(c.Add("CumSum", {areas, c.model().Int64(axis)}), type);
  c.Out(c.Add("ReduceSum", {areas, c.Ints64({axis})}, {{"keepdims", int64_t{0}}}), type);
}

// x to the powers N - 1 .. 0, side by side.
void Vander(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const int64_t count = c.Has("N") ? c.Int("N", 0) : c.Extent("x", 0);
  if (count < 0) return c.Refuse("its number of powers is not known before the model runs");
  if (c.Rank("x") != 1 || !c.Affordable(static_cast<double>(count)))
    return c.Malformed("its input has other axes than one");
  std::vector<float> powers;
  for (int64_t i = 0; i < count; ++i)
    powers.push_back(static_cast<float>(c.Bool("increasing", false) ? i : count - 1 - i));
  c.Out(c.Add("Pow", {c.Unsqueeze(c.InAs("x", type), {1}), c.model().Floats(powers, Ints{count})}),
        type);
}

}  // namespace

void RegisterPt2Operators_special(OperatorRegistry& registry) {
  registry.Add("aten.signbit", SignBit);
  registry.Add("aten.copysign", CopySign);
  registry.Add("aten.heaviside", Heaviside);
  registry.Add("aten.ldexp", TimesPowerOfTwo);
  registry.Add("aten.logaddexp2", LogAddExp2);
  registry.Add("aten.sinc", Sinc);
  registry.Add("aten.special_entr", Entropy);
  registry.Add("aten.special_ndtr", NormalDistribution);
  registry.Add({"aten.nansum", "aten.nanmean"}, NanSum);
  registry.Add("aten.angle", Angle);
  registry.Add("aten.isreal", IsReal);
  registry.Add("aten.isin", IsIn);
  registry.Add("aten._is_all_true", AllTrue);
  registry.Add("aten._safe_softmax", SafeSoftmax);
  registry.Add("aten.diff", Difference);
  registry.Add({"aten.trapezoid.dx", "aten.trapz.dx", "aten.cumulative_trapezoid.dx"}, Trapezoid);
  registry.Add("aten.vander", Vander);
}

}  // namespace modelpress::pt2
