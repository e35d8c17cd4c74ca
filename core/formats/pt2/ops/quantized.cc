// Quantization as torch's exported programs write it (quantized_decomposed.*): codes with a scale and a zero point.
//
//   quantize_per_tensor, quantize_per_channel     -> QuantizeLinear, then Clip where the codes have a smaller range
//   dequantize_per_tensor, dequantize_per_channel -> DequantizeLinear
//   aten.fake_quantize_*      -> both, one after the other
//   aten._int_mm -> MatMulInteger      aten._weight_int8pack_mm -> DequantizeLinear of the weight, Gemm
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

// fake_quantize: values rounded to codes and back, as training with quantization left them.
void FakeQuantize(OperatorContext& c) {
  const bool channels = c.name().contains("per_channel");
  const int64_t from = c.Int("quant_min", 0), to = c.Int("quant_max", 255);
  const DataType codes = from >= -128 && to <= 127       ? DataType::kInt8
                         : from >= 0 && to <= 255        ? DataType::kUint8
                         : from >= -32768 && to <= 32767 ? DataType::kInt16
                         : from >= 0 && to <= 65535      ? DataType::kUint16
                                                         : DataType::kUndefined;
  int64_t low = 0, high = 0;
  if (!Limits(codes, &low, &high) || from > to)
    return c.Refuse("its codes are of a range that ONNX does not have");
  std::string scale = c.InAs("scale", DataType::kFloat), zero;
  if (c.IsTensor("zero_point")) {
    zero = c.InAs("zero_point", codes);
  } else {
    const int64_t value = c.Int("zero_point", 0);
    if (value < low || value > high) return c.Malformed("its zero point does not fit its codes");
    zero = c.model().ScalarOf(codes, static_cast<double>(value));
  }
  Attributes attributes;
  if (channels) {
    attributes.push_back({"axis", c.Axis("axis", 0, c.Rank("self"))});
  } else {
    for (const auto& [name, value] : {std::pair("scale", &scale), std::pair("zero_point", &zero)}) {
      if (c.IsTensor(name) && c.Rank(name) > 0) *value = c.Reshape(*value, Ints{});
    }
  }
  for (int o = 1; o < c.output_count(); ++o) {
    if (c.Wants(o)) return c.Refuse("which values were clipped is read");
  }
  std::string y =
      c.Add("QuantizeLinear", {c.InAs("self", DataType::kFloat), scale, zero}, attributes);
  if (from > low || to < high) {
    if (codes != DataType::kInt8 && codes != DataType::kUint8)
      return c.Refuse("its codes of 16 bits have a smaller range");
    y = c.Add("Clip", {y, c.model().ScalarOf(codes, static_cast<double>(from)),
                       c.model().ScalarOf(codes, static_cast<double>(to))});
  }
  c.Out(c.Add("DequantizeLinear", {y, scale, zero}, attributes), DataType::kFloat);
}

// int8 times int8, sums in int32.
void IntegerProduct(OperatorContext& c) {
  c.Out(c.Add("MatMulInteger", {c.In("self"), c.In("mat2")}), DataType::kInt32);
}

// x W^T with int8 weights [out, in] and a scale for each row.
void PackedProduct(OperatorContext& c) {
  const DataType type = DataType::kFloat;
  const std::string weight =
      c.Add("DequantizeLinear", {c.In("mat2"), c.InAs("scales", type)}, {{"axis", int64_t{0}}});
  c.Out(c.Add("Gemm", {c.InAs("self", type), weight}, {{"transB", int64_t{1}}}), type);
}

}  // namespace

void RegisterPt2Operators_quantized(OperatorRegistry& registry) {
  registry.Add(
      {"quantized_decomposed.quantize_per_tensor", "quantized_decomposed.quantize_per_channel"},
      Quantize);
  registry.Add(
      {"quantized_decomposed.dequantize_per_tensor", "quantized_decomposed.dequantize_per_channel"},
      Dequantize);
  registry.Add({"aten.fake_quantize_per_tensor_affine", "aten.fake_quantize_per_channel_affine",
                "aten.fake_quantize_per_tensor_affine_cachemask",
                "aten.fake_quantize_per_channel_affine_cachemask",
                "aten._fake_quantize_per_tensor_affine_cachemask_tensor_qparams"},
               FakeQuantize);
  registry.Add("aten._int_mm", IntegerProduct);
  registry.Add("aten._weight_int8pack_mm", PackedProduct);
}

}  // namespace modelpress::pt2
