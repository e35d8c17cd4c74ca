// Comparisons, logic, bits, and choosing by them.
//
//   eq, ne, lt, le, gt, ge -> in the type that both are promoted to
//   logical_and, or, xor   -> And, Or, Xor of x != 0     bitwise_* -> of booleans the same, else BitwiseAnd, Or, Xor
//   << n, >> n             -> times 2^n, divided by 2^n and rounded down      where, masked_fill -> Where
#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {
namespace {

void Compare(OperatorContext& c) {
  const DataType type = ComputeType(c.Common({"self", "other"}));
  const std::string a = c.InAs("self", type), b = c.InAs("other", type);
  const std::string_view name = c.name();
  const auto out = [&](const char* op) { c.Out(c.Add(op, {a, b}), DataType::kBool); };
  if (name == "eq") return out("Equal");
  if (name == "lt" || name == "less") return out("Less");
  if (name == "le" || name == "less_equal") return out("LessOrEqual");
  if (name == "gt" || name == "greater") return out("Greater");
  if (name == "ge" || name == "greater_equal") return out("GreaterOrEqual");
  c.Out(c.Add("Not", {c.Add("Equal", {a, b})}), DataType::kBool);
}

void Logic(OperatorContext& c) {
  const std::string a = c.InAs("self", DataType::kBool), b = c.InAs("other", DataType::kBool);
  const std::string_view name = c.name();
  c.Out(c.Add(name.contains("and")   ? "And"
              : name.contains("xor") ? "Xor"
                                     : "Or",
              {a, b}),
        DataType::kBool);
}

void Bits(OperatorContext& c) {
  if (c.Target().type == ScalarType::kBool) return Logic(c);
  const DataType type = c.OutType();
  const std::string_view name = c.name();
  const char* op = name.contains("and")   ? "BitwiseAnd"
                   : name.contains("xor") ? "BitwiseXor"
                                          : "BitwiseOr";
  c.Out(c.Add(op, {c.InAs("self", type), c.InAs("other", type)}), type);
}

void Shift(OperatorContext& c) {
  const DataType type = DataType::kInt64;
  const std::string a = c.InAs("self", type);
  const std::string power = c.Add("Pow", {c.Number(type, 2), c.InAs("other", type)});
  if (c.name().contains("left") || c.name().contains("lshift"))
    return c.Out(c.Add("Mul", {a, power}), type);
  c.Out(c.Add("Div", {c.Add("Sub", {a, c.Add("Mod", {a, power})}), power}), type);
}

void Where(OperatorContext& c) {
  if (!c.Has(
          "self")) {  // where.default: the places, as nonzero gives them, one tensor for each axis
    const std::string places = c.Add("NonZero", {c.InAs("condition", DataType::kBool)});
    for (int o = 0; o < c.output_count(); ++o) {
      c.Out(c.Add("Gather", {places, c.model().Int64(o)}, {{"axis", int64_t{0}}}), DataType::kInt64,
            o);
    }
    return;
  }
  const DataType type = ComputeType(c.Target().type);
  c.Out(c.Add("Where",
              {c.InAs("condition", DataType::kBool), c.InAs("self", type), c.InAs("other", type)}),
        type);
}

void MaskedFill(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  c.Out(c.Add("Where",
              {c.InAs("mask", DataType::kBool), c.InAs("value", type), c.InAs("self", type)}),
        type);
}

void IsClose(OperatorContext& c) {
  const ScalarType common = c.Common({"self", "other"});
  const DataType type = IsFloating(common) ? ComputeType(common) : DataType::kDouble;
  const std::string a = c.InAs("self", type), b = c.InAs("other", type);
  const std::string apart = c.Add("Abs", {c.Add("Sub", {a, b})});
  const std::string allowed =
      c.Add("Add", {c.Number(type, c.Float("atol", 1e-8)),
                    c.Add("Mul", {c.Number(type, c.Float("rtol", 1e-5)), c.Add("Abs", {b})})});
  const std::string finite = c.Add("Not", {c.Add("IsInf", {apart})});
  std::string close = c.Add("And", {finite, c.Add("LessOrEqual", {apart, allowed})});
  close = c.Add("Or", {close, c.Add("Equal", {a, b})});
  if (c.Bool("equal_nan", false))
    close = c.Add("Or", {close, c.Add("And", {c.Add("IsNaN", {a}), c.Add("IsNaN", {b})})});
  c.Out(close, DataType::kBool);
}

}  // namespace

void RegisterPt2Operators_comparison(OperatorRegistry& registry) {
  registry.Add({"aten.eq", "aten.ne", "aten.lt", "aten.le", "aten.gt", "aten.ge", "aten.not_equal",
                "aten.less", "aten.less_equal", "aten.greater", "aten.greater_equal"},
               Compare);
  registry.Add({"aten.logical_and", "aten.logical_or", "aten.logical_xor"}, Logic);
  registry.Add({"aten.bitwise_and", "aten.bitwise_or", "aten.bitwise_xor", "aten.__and__",
                "aten.__or__", "aten.__xor__"},
               Bits);
  registry.Add(
      {"aten.__lshift__", "aten.__rshift__", "aten.bitwise_left_shift", "aten.bitwise_right_shift"},
      Shift);
  registry.Add("aten.where", Where);
  registry.Add("aten.masked_fill", MaskedFill);
  registry.Add("aten.isclose", IsClose);
}

}  // namespace modelpress::pt2
