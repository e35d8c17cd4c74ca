// Taking newer nodes back: operators made of smaller ones, by their definition in the ONNX specification.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>

#include "core/quant/opset_lowering_rules.h"

namespace modelpress {
namespace {

// Gelu, 20: x / 2 * (1 + erf(x / sqrt 2)), or x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))).
bool GeluFromParts(Lowering& l, const onnx::NodeProto& node, LoweredNodes* made) {
  const std::string& x = node.input(0);
  if (!l.IsFloat(x)) return false;
  const onnx::AttributeProto* form = FindAttribute(node, "approximate");
  const auto add = [&](std::string_view op, std::vector<std::string> inputs) {
    return l.Append(made, node, op, std::move(inputs));
  };
  std::string inner;
  if (form != nullptr && form->s() == "tanh") {
    const std::string cube = add("Mul", {x, add("Mul", {x, x})});
    const std::string sum = add("Add", {x, add("Mul", {cube, l.Float(0.044715f)})});
    const float factor = static_cast<float>(std::sqrt(2 * std::numbers::inv_pi));
    inner = add("Tanh", {add("Mul", {sum, l.Float(factor)})});
  } else {
    inner = add("Erf", {add("Div", {x, l.Float(static_cast<float>(std::numbers::sqrt2))})});
  }
  const std::string one = add("Add", {inner, l.Float(1)});
  l.Append(made, node, "Mul", {add("Mul", {x, l.Float(0.5f)}), one}, /*last=*/true);
  return true;
}

// HardSwish, 14: x * HardSigmoid(x) with alpha 1/6 and beta 1/2.
bool HardSwishFromParts(Lowering& l, const onnx::NodeProto& node, LoweredNodes* made) {
  const std::string gate = l.Append(made, node, "HardSigmoid", {node.input(0)});
  onnx::AttributeProto* alpha = made->back().add_attribute();
  alpha->set_name("alpha");
  alpha->set_type(onnx::AttributeProto::FLOAT);
  alpha->set_f(1.0f / 6);
  l.Append(made, node, "Mul", {node.input(0), gate}, /*last=*/true);
  return true;
}

// Mish, 18: x * tanh(softplus(x)).
bool MishFromParts(Lowering& l, const onnx::NodeProto& node, LoweredNodes* made) {
  const std::string soft = l.Append(made, node, "Softplus", {node.input(0)});
  const std::string gate = l.Append(made, node, "Tanh", {soft});
  l.Append(made, node, "Mul", {node.input(0), gate}, /*last=*/true);
  return true;
}

// LayerNormalization, 17: (x - mean) / sqrt(variance + epsilon) * scale + bias over the last axes.
bool LayerNormalizationFromParts(Lowering& l, const onnx::NodeProto& node, LoweredNodes* made) {
  const std::string& x = node.input(0);
  int64_t axis = IntAttribute(node, "axis", -1);
  const auto shape = l.Shape(x);
  if (!l.IsFloat(x) || node.output_size() != 1 || (axis != -1 && !shape.has_value())) return false;
  std::vector<int64_t> axes = {-1};
  if (axis != -1) {
    const int64_t rank = static_cast<int64_t>(shape->size());
    if (axis < 0) axis += rank;
    if (axis < 0 || axis >= rank) return false;
    axes.resize(static_cast<size_t>(rank - axis));
    std::iota(axes.begin(), axes.end(), axis);
  }
  const auto add = [&](std::string_view op, std::vector<std::string> inputs) {
    std::string value = l.Append(made, node, op, std::move(inputs));
    if (op == "ReduceMean") SetInts(made->back(), "axes", axes);
    return value;
  };
  const std::string centred = add("Sub", {x, add("ReduceMean", {x})});
  const std::string variance = add("ReduceMean", {add("Mul", {centred, centred})});
  const std::string epsilon = l.Float(FloatAttribute(node, "epsilon", 1e-5f));
  const std::string spread = add("Sqrt", {add("Add", {variance, epsilon})});
  const std::string unit = add("Div", {centred, spread});
  if (!HasInput(node, 2)) {
    l.Append(made, node, "Mul", {unit, node.input(1)}, /*last=*/true);
  } else {
    l.Append(made, node, "Add", {add("Mul", {unit, node.input(1)}), node.input(2)}, /*last=*/true);
  }
  return true;
}

// Whether a node of QuantizeLinear or DequantizeLinear has codes of that type and 16 bits, one scale, and float32 beside them.
bool IsPlain16Bits(const Lowering& l, const onnx::NodeProto& node, DataType codes) {
  if (codes != DataType::kInt16 && codes != DataType::kUint16) return false;
  const auto scale = l.Shape(node.input(1));
  return scale.has_value() && scale->empty() && l.IsFloat(node.input(1)) &&
         IntAttribute(node, "block_size", 0) == 0;
}

std::string CastTo(Lowering& l, LoweredNodes* made, const onnx::NodeProto& node,
                   const std::string& value, DataType type, bool last = false) {
  std::string cast = l.Append(made, node, "Cast", {value}, last);
  SetInt(made->back(), "to", static_cast<int64_t>(type));
  return cast;
}

// DequantizeLinear, 21: 16 bits. (codes - zero point) * scale.
bool Dequantize16Bits(Lowering& l, const onnx::NodeProto& node, LoweredNodes* made) {
  if (!IsPlain16Bits(l, node, l.Type(node.input(0)))) return false;
  std::string codes = CastTo(l, made, node, node.input(0), DataType::kFloat);
  if (HasInput(node, 2)) {
    const std::string zero = CastTo(l, made, node, node.input(2), DataType::kFloat);
    codes = l.Append(made, node, "Sub", {codes, zero});
  }
  l.Append(made, node, "Mul", {codes, node.input(1)}, /*last=*/true);
  return true;
}

// QuantizeLinear, 21: 16 bits. x / scale, rounded (halves to even), the zero point added, held within the type.
bool Quantize16Bits(Lowering& l, const onnx::NodeProto& node, LoweredNodes* made) {
  if (!HasInput(node, 2) || !l.IsFloat(node.input(0))) return false;
  const DataType type = l.Type(node.input(2));
  if (!IsPlain16Bits(l, node, type)) return false;
  const std::string steps = l.Append(made, node, "Div", {node.input(0), node.input(1)});
  const std::string whole = l.Append(made, node, "Round", {steps});
  const std::string zero = CastTo(l, made, node, node.input(2), DataType::kFloat);
  const std::string codes = l.Append(made, node, "Add", {whole, zero});
  const bool is_signed = type == DataType::kInt16;
  const std::string held = l.Append(
      made, node, "Clip",
      {codes, l.Float(is_signed ? -32768.0f : 0.0f), l.Float(is_signed ? 32767.0f : 65535.0f)});
  CastTo(l, made, node, held, type, /*last=*/true);
  return true;
}

// Pad, 19: wrap. The end before the whole and the beginning behind it, axis by axis.
bool WrapFromParts(Lowering& l, const onnx::NodeProto& node, LoweredNodes* made) {
  const onnx::AttributeProto* mode = FindAttribute(node, "mode");
  const auto shape = l.Shape(node.input(0));
  const auto pads = l.Integers(node, 1);
  if (mode == nullptr || mode->s() != "wrap" || HasInput(node, 3) || !shape.has_value() ||
      !pads.has_value() || pads->size() != 2 * shape->size())
    return false;
  std::vector<size_t> axes;
  for (size_t axis = 0; axis < shape->size(); ++axis) {
    const int64_t before = (*pads)[axis], after = (*pads)[shape->size() + axis];
    if (before == 0 && after == 0) continue;
    if (before < 0 || after < 0 || std::max(before, after) > (*shape)[axis]) return false;
    axes.push_back(axis);
  }
  std::string x = node.input(0);
  for (const size_t axis : axes) {
    const int64_t before = (*pads)[axis], after = (*pads)[shape->size() + axis];
    const std::string where = l.Int64s({static_cast<int64_t>(axis)});
    std::vector<std::string> parts;
    if (before > 0) {
      const std::string end = l.Int64s({std::numeric_limits<int64_t>::max()});
      parts.push_back(l.Append(made, node, "Slice", {x, l.Int64s({-before}), end, where}));
    }
    parts.push_back(x);
    if (after > 0) {
      parts.push_back(l.Append(made, node, "Slice", {x, l.Int64s({0}), l.Int64s({after}), where}));
    }
    x = l.Append(made, node, "Concat", std::move(parts), /*last=*/axis == axes.back());
    SetInt(made->back(), "axis", static_cast<int64_t>(axis));
  }
  return !axes.empty();
}

constexpr LoweringRule kRules[] = {
    {"DequantizeLinear", 21, Dequantize16Bits},
    {"QuantizeLinear", 21, Quantize16Bits},
    {"Gelu", 20, GeluFromParts},
    {"HardSwish", 14, HardSwishFromParts},
    {"Mish", 18, MishFromParts},
    {"LayerNormalization", 17, LayerNormalizationFromParts},
    {"Pad", 19, WrapFromParts},
};

}  // namespace

std::span<const LoweringRule> PartRules() { return kRules; }

}  // namespace modelpress
