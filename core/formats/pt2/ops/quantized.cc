// Quantization as torch's exported programs write it (quantized_decomposed.*): codes with a scale and a zero point.
//
//   quantize_per_tensor, quantize_per_channel     -> QuantizeLinear, then Clip where the codes have a smaller range
//   dequantize_per_tensor, dequantize_per_channel -> DequantizeLinear
#include <limits>

#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {
namespace {

// The codes' limits by type; false for types that ONNX does not quantize to.
bool Limits(DataType type, int64_t* low, int64_t* high) {
  switch (type) {
    case DataType::kInt8:
      *low = -128, *high = 127;
      return true;
    case DataType::kUint8:
      *low = 0, *high = 255;
      return true;
    case DataType::kInt16:
      *low = -32768, *high = 32767;
      return true;
    case DataType::kUint16:
      *low = 0, *high = 65535;
      return true;
    default:
      return false;
  }
}

// The node with its scale and zero point, the latter of the codes' type.
std::string AddLinear(OperatorContext& c, const char* op, const std::string& x, DataType codes) {
  const bool channels = c.name().ends_with("per_channel");
  const std::string_view scale_name = channels ? "scales" : "scale";
  const std::string_view zero_name = channels ? "zero_points" : "zero_point";
  std::string scale = c.InAs(scale_name, DataType::kFloat), zero;
  if (!channels && c.IsTensor(scale_name) && c.Rank(scale_name) > 0)
    scale = c.Reshape(scale, Ints{});
  if (c.IsTensor(zero_name)) {
    zero = c.InAs(zero_name, codes);
    if (!channels && c.Rank(zero_name) > 0) zero = c.Reshape(zero, Ints{});
  } else if (c.Has(zero_name)) {
    const int64_t value = c.Int(zero_name, 0);
    int64_t low = std::numeric_limits<int32_t>::min(), high = std::numeric_limits<int32_t>::max();
    Limits(codes, &low, &high);
    if (value < low || value > high) {
      c.Malformed("its zero point does not fit its codes");
      return "";
    }
    zero = c.model().ScalarOf(codes, static_cast<double>(value));
  }
  if (!channels) return c.Add(op, {x, scale, zero});
  return c.Add(op, {x, scale, zero}, {{"axis", c.Axis("axis", 0, c.Rank("input"))}});
}

void Quantize(OperatorContext& c) {
  const DataType codes = c.OutType();
  int64_t low = 0, high = 0;
  if (!Limits(codes, &low, &high))
    return c.Refuse("it quantizes to a type that ONNX does not quantize to");
  std::string y = AddLinear(c, "QuantizeLinear", c.InAs("input", DataType::kFloat), codes);
  const int64_t from = c.Int("quant_min", low), to = c.Int("quant_max", high);
  if (from < low || to > high || from > to) return c.Malformed("its codes do not fit their type");
  if (from > low || to < high) {
    if (codes != DataType::kInt8 && codes != DataType::kUint8)
      return c.Refuse("its codes of 16 bits have a smaller range");
    y = c.Add("Clip", {y, c.model().ScalarOf(codes, static_cast<double>(from)),
                       c.model().ScalarOf(codes, static_cast<double>(to))});
  }
  c.Out(y, codes);
}

void Dequantize(OperatorContext& c) {
  const DataType codes = c.OnnxType("input");
  int64_t low = 0, high = 0;
  if (!Limits(codes, &low, &high) && codes != DataType::kInt32)
    return c.Refuse("it takes codes of a type that ONNX does not have them in");
  c.Out(AddLinear(c, "DequantizeLinear", c.In("input"), codes), DataType::kFloat);
}

}  // namespace

void RegisterPt2Operators_quantized(OperatorRegistry& registry) {
  registry.Add(
      {"quantized_decomposed.quantize_per_tensor", "quantized_decomposed.quantize_per_channel"},
      Quantize);
  registry.Add(
      {"quantized_decomposed.dequantize_per_tensor", "quantized_decomposed.dequantize_per_channel"},
      Dequantize);
}

}  // namespace modelpress::pt2
