// Operators that work element by element, with broadcasting: arithmetic, comparison, logic, rounding, trigonometry.
#include <limits>

#include "core/trainer/operator.h"

namespace modelpress::trainer {
namespace {

template <at::Tensor (*kFunction)(const at::Tensor&)>
Tensors Unary(const OperatorCall& call) {
  return {kFunction(call[0])};
}

template <at::Tensor (*kFunction)(const at::Tensor&, const at::Tensor&)>
Tensors Binary(const OperatorCall& call) {
  return {kFunction(call[0], call[1])};
}

// Of any number of inputs.
template <at::Tensor (*kFunction)(const at::Tensor&, const at::Tensor&)>
Tensors Folded(const OperatorCall& call) {
  at::Tensor result = call[0];
  for (size_t i = 1; i < call.inputs().size(); ++i) result = kFunction(result, call[i]);
  return {result};
}

at::Tensor Plus(const at::Tensor& a, const at::Tensor& b) { return a + b; }
at::Tensor Minus(const at::Tensor& a, const at::Tensor& b) { return a - b; }
at::Tensor Times(const at::Tensor& a, const at::Tensor& b) { return a * b; }
at::Tensor Divide(const at::Tensor& a, const at::Tensor& b) {
  return a.is_floating_point() ? at::div(a, b) : at::div(a, b, "trunc");
}
// The result has the base's type.
at::Tensor Power(const at::Tensor& a, const at::Tensor& b) {
  if (a.is_floating_point()) return at::pow(a, b.to(a.scalar_type()));
  return at::pow(a.to(at::kDouble), b.to(at::kDouble)).to(a.scalar_type());
}
at::Tensor Xor(const at::Tensor& a, const at::Tensor& b) { return at::logical_xor(a, b); }
at::Tensor And(const at::Tensor& a, const at::Tensor& b) { return at::logical_and(a, b); }
at::Tensor Or(const at::Tensor& a, const at::Tensor& b) { return at::logical_or(a, b); }
at::Tensor BitwiseAnd(const at::Tensor& a, const at::Tensor& b) { return at::bitwise_and(a, b); }
at::Tensor BitwiseOr(const at::Tensor& a, const at::Tensor& b) { return at::bitwise_or(a, b); }
at::Tensor BitwiseXor(const at::Tensor& a, const at::Tensor& b) { return at::bitwise_xor(a, b); }
at::Tensor Equal(const at::Tensor& a, const at::Tensor& b) { return at::eq(a, b); }
at::Tensor Less(const at::Tensor& a, const at::Tensor& b) { return at::lt(a, b); }
at::Tensor Greater(const at::Tensor& a, const at::Tensor& b) { return at::gt(a, b); }
at::Tensor LessOrEqual(const at::Tensor& a, const at::Tensor& b) { return at::le(a, b); }
at::Tensor GreaterOrEqual(const at::Tensor& a, const at::Tensor& b) { return at::ge(a, b); }
at::Tensor Abs(const at::Tensor& x) { return x.scalar_type() == at::kByte ? x : at::abs(x); }
at::Tensor Sign(const at::Tensor& x) { return at::sign(x); }

Tensors Mean(const OperatorCall& call) {
  return {Folded<Plus>(call)[0] / static_cast<double>(call.inputs().size())};
}

Tensors Mod(const OperatorCall& call) {
  return {call.Int("fmod", 0) != 0 ? at::fmod(call[0], call[1]) : at::remainder(call[0], call[1])};
}

Tensors Where(const OperatorCall& call) {
  return {at::where(call[0].to(at::kBool), call[1], call[2])};
}

Tensors IsInf(const OperatorCall& call) {
  const double infinity = std::numeric_limits<double>::infinity();
  at::Tensor result = at::zeros_like(call[0], at::kBool);
  if (call.Int("detect_positive", 1) != 0) result = at::logical_or(result, call[0] == infinity);
  if (call.Int("detect_negative", 1) != 0) result = at::logical_or(result, call[0] == -infinity);
  return {result};
}

// Bounds are attributes before opset 11, inputs since.
Tensors Clip(const OperatorCall& call) {
  const at::Tensor& x = call[0];
  if (call.opset() < 11) {
    at::Tensor result = x;
    if (call.HasAttribute("min")) result = at::clamp_min(result, call.Float("min", 0));
    if (call.HasAttribute("max")) result = at::clamp_max(result, call.Float("max", 0));
    return {result};
  }
  at::Tensor result = x;
  // One value each, in a tensor of rank 0 or 1.
  if (call.Has(1) && call[1].numel() == 1) {
    result = call[1].requires_grad() ? at::maximum(result, call[1].reshape({}))
                                     : at::clamp_min(result, call[1].item());
  }
  if (call.Has(2) && call[2].numel() == 1) {
    result = call[2].requires_grad() ? at::minimum(result, call[2].reshape({}))
                                     : at::clamp_max(result, call[2].item());
  }
  return {result};
}

Tensors CumSum(const OperatorCall& call) {
  const at::Tensor& x = call[0];
  const int64_t axis = Axis(ToInts(call[1]).at(0), x.dim());
  const bool reverse = call.Int("reverse", 0) != 0;
  const at::Tensor ordered = reverse ? at::flip(x, {axis}) : x;
  at::Tensor sums = at::cumsum(ordered, axis, x.scalar_type());
  if (call.Int("exclusive", 0) != 0) sums = sums - ordered;
  return {reverse ? at::flip(sums, {axis}) : sums};
}

}  // namespace

void RegisterOperators_elementwise(OperatorRegistry& registry) {
  registry.Add("Add", Binary<Plus>);
  registry.Add("Sub", Binary<Minus>);
  registry.Add("Mul", Binary<Times>);
  registry.Add("Div", Binary<Divide>);
  registry.Add("Pow", Binary<Power>);
  registry.Add("Mod", Mod);
  registry.Add("Sum", Folded<Plus>);
  registry.Add("Mean", Mean);
  registry.Add("Max", Folded<at::maximum>);
  registry.Add("Min", Folded<at::minimum>);
  registry.Add("And", Binary<And>);
  registry.Add("Or", Binary<Or>);
  registry.Add("Xor", Binary<Xor>);
  registry.Add("BitwiseAnd", Binary<BitwiseAnd>);
  registry.Add("BitwiseOr", Binary<BitwiseOr>);
  registry.Add("BitwiseXor", Binary<BitwiseXor>);
  registry.Add("Not", Unary<at::logical_not>);
  registry.Add("Equal", Binary<Equal>);
  registry.Add("Less", Binary<Less>);
  registry.Add("Greater", Binary<Greater>);
  registry.Add("LessOrEqual", Binary<LessOrEqual>);
  registry.Add("GreaterOrEqual", Binary<GreaterOrEqual>);
  registry.Add("Where", Where);
  registry.Add("IsNaN", Unary<at::isnan>);
  registry.Add("IsInf", IsInf);
  registry.Add("Clip", Clip);
  registry.Add("CumSum", CumSum);
  registry.Add("Neg", Unary<at::neg>);
  registry.Add("Abs", Unary<Abs>);
  registry.Add("Sign", Unary<Sign>);
  registry.Add("Exp", Unary<at::exp>);
  registry.Add("Log", Unary<at::log>);
  registry.Add("Sqrt", Unary<at::sqrt>);
  registry.Add("Reciprocal", Unary<at::reciprocal>);
  registry.Add("Floor", Unary<at::floor>);
  registry.Add("Ceil", Unary<at::ceil>);
  registry.Add("Round", Unary<at::round>);
  registry.Add("Erf", Unary<at::erf>);
  registry.Add("Sin", Unary<at::sin>);
  registry.Add("Cos", Unary<at::cos>);
  registry.Add("Tan", Unary<at::tan>);
  registry.Add("Asin", Unary<at::asin>);
  registry.Add("Acos", Unary<at::acos>);
  registry.Add("Atan", Unary<at::atan>);
  registry.Add("Sinh", Unary<at::sinh>);
  registry.Add("Cosh", Unary<at::cosh>);
  registry.Add("Asinh", Unary<at::asinh>);
  registry.Add("Acosh", Unary<at::acosh>);
  registry.Add("Atanh", Unary<at::atanh>);
}

}  // namespace modelpress::trainer
