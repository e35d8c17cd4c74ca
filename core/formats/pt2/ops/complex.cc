// Arithmetic of complex numbers, whose parts are a last axis of two (see fourier.cc).
//
//   div, reciprocal by the conjugate     exp -> e^re (cos im, sin im)     angle -> atan2(im, re)
//   matmul, mm, bmm -> four products of the parts
#include <numbers>

#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {
namespace {

struct Parts {
  std::string real, imaginary;  // "" for real numbers
};

Parts PartsOf(OperatorContext& c, std::string_view name, DataType type) {
  if (!c.IsTensor(name) || !IsComplex(c.Type(name))) return {c.InAs(name, type), ""};
  const std::string x = c.InAs(name, type);
  const auto part = [&](int64_t i) {
    return c.Add("Gather", {x, c.model().Int64(i)}, {{"axis", int64_t{-1}}});
  };
  return {part(0), part(1)};
}

void Out(OperatorContext& c, const std::string& real, const std::string& imaginary, DataType type) {
  c.Out(c.Concat({c.Unsqueeze(real, {-1}), c.Unsqueeze(imaginary, {-1})}, -1), type);
}

void Divide(OperatorContext& c) {
  const DataType type = c.OutType();
  if (c.Has("rounding_mode")) return c.Malformed("it rounds complex numbers");
  const Parts a = PartsOf(c, "self", type), b = PartsOf(c, "other", type);
  if (b.imaginary.empty()) {
    return Out(c, c.Add("Div", {a.real, b.real}), c.Add("Div", {a.imaginary, b.real}), type);
  }
  const auto mul = [&](const std::string& x, const std::string& y) { return c.Add("Mul", {x, y}); };
  const std::string size = c.Add("Add", {mul(b.real, b.real), mul(b.imaginary, b.imaginary)});
  std::string real = mul(a.real, b.real), imaginary = c.Add("Neg", {mul(a.real, b.imaginary)});
  if (!a.imaginary.empty()) {
    real = c.Add("Add", {real, mul(a.imaginary, b.imaginary)});
    imaginary = c.Add("Add", {imaginary, mul(a.imaginary, b.real)});
  }
  Out(c, c.Add("Div", {real, size}), c.Add("Div", {imaginary, size}), type);
}

void Exponential(OperatorContext& c) {
  const DataType type = c.OutType();
  const Parts x = PartsOf(c, "self", type);
  const std::string size = c.Add("Exp", {x.real});
  Out(c, c.Add("Mul", {size, c.Add("Cos", {x.imaginary})}),
      c.Add("Mul", {size, c.Add("Sin", {x.imaginary})}), type);
}

// atan2(im, re).
void Angle(OperatorContext& c) {
  const DataType type = FloatOnly(c.Target().type);
  const Parts parts = PartsOf(c, "self", type);
  const std::string &x = parts.real, &y = parts.imaginary;
  const std::string zero = c.Number(type, 0), pi = c.Number(type, std::numbers::pi);
  const std::string angle = c.Add("Atan", {c.Add("Div", {y, x})});
  const std::string turned = c.Add("Where", {c.Add("GreaterOrEqual", {y, zero}),
                                             c.Add("Add", {angle, pi}), c.Add("Sub", {angle, pi})});
  const std::string result = c.Add("Where", {c.Add("Less", {x, zero}), turned, angle});
  const std::string origin = c.Add("And", {c.Add("Equal", {x, zero}), c.Add("Equal", {y, zero})});
  c.Out(c.Add("Where", {origin, zero, result}), type);
}

void Multiply(OperatorContext& c) {
  const DataType type = c.OutType();
  const Parts a = PartsOf(c, "self", type), b = PartsOf(c, c.Has("other") ? "other" : "mat2", type);
  const auto mul = [&](const std::string& x, const std::string& y) {
    return c.Add("MatMul", {x, y});
  };
  std::string real = mul(a.real, b.real), imaginary;
  if (!a.imaginary.empty() && !b.imaginary.empty())
    real = c.Add("Sub", {real, mul(a.imaginary, b.imaginary)});
  if (!b.imaginary.empty()) imaginary = mul(a.real, b.imaginary);
  if (!a.imaginary.empty()) {
    const std::string other = mul(a.imaginary, b.real);
    imaginary = imaginary.empty() ? other : c.Add("Add", {imaginary, other});
  }
  Out(c, real, imaginary, type);
}

// A real tensor as a complex one, or one complex type as another.
void Convert(OperatorContext& c) {
  const std::string_view self = c.Has("self") ? "self" : "a";
  if (!IsComplex(c.Target().type)) return c.Refuse("it makes complex numbers real");
  const DataType type = c.OutType();
  const std::string x = c.InAs(self, type);
  if (IsComplex(c.Type(self))) return c.Out(x, type);
  Ints pads(2 * static_cast<size_t>(c.Rank(self) + 1), 0);
  pads.back() = 1;
  c.Out(c.Add("Pad", {c.Unsqueeze(x, {-1}), c.Ints64(pads)}), type);
}

}  // namespace

// Found before the operators' own translations where complex numbers are involved.
void RegisterPt2Operators_complex(OperatorRegistry& registry) {
  registry.Add({"complex.div", "complex.divide", "complex.true_divide"}, Divide);
  registry.Add({"complex._to_copy", "complex.to", "complex.convert_element_type"}, Convert);
  registry.Add("complex.exp", Exponential);
  registry.Add("complex.angle", Angle);
  registry.Add({"complex.matmul", "complex.mm", "complex.bmm"}, Multiply);
}

}  // namespace modelpress::pt2
