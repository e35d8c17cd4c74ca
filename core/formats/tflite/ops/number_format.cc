// Number formats: CAST, BITCAST, QUANTIZE, DEQUANTIZE, DENSIFY, FAKE_QUANT (all versions).
//
//   CAST -> Cast                          BITCAST -> Cast, between integers of the same width
//   QUANTIZE -> QuantizeLinear; between codes: DequantizeLinear, QuantizeLinear; to int32: Div, Round, Cast
//   DEQUANTIZE -> DequantizeLinear; float16 -> Cast, but small constants are widened and no node is left
//   DENSIFY -> nothing: the constant is stored dense
//   FAKE_QUANT -> Clip to the nudged range, then rounding to its steps: Sub, Div, Round, Mul, Add
// Nudging (Jacob et al. 2018, section 3): the range is moved so that 0 is one of its steps.
#include <algorithm>
#include <cmath>

#include "core/formats/tflite/operator.h"

namespace modelpress::tflite {
namespace {

absl::Status Cast(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  const DataType type = ToOnnxType(c.Target().type);
  if (type == DataType::kUndefined || type == DataType::kString ||
      ToOnnxType(c.Source(0).type) == DataType::kUndefined) {
    return c.Unsupported("it converts from or to a type that ONNX tensors do not have");
  }
  // Codes are cast as the integers that they are.
  MP_ASSIGN_OR_RETURN(const std::string x, c.Raw(0));
  return c.OutRaw(0, c.Source(0).type == c.Target().type ? x : c.builder().Cast(x, type));
}

absl::Status Quantize(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  const std::optional<Quantization>& quantization = c.Target().quantization;
  if (c.Target().type == TensorType::INT32 && quantization.has_value() &&
      !quantization->per_axis() && quantization->block_size == 0 &&
      quantization->zero_point[0] == 0) {
    // QuantizeLinear does not make 32 bits.
    MP_ASSIGN_OR_RETURN(const std::string real, c.InAs(0, DataType::kFloat));
    const std::string steps = c.Add("Div", {real, c.model().Float(quantization->scale[0])});
    return c.Out(0, c.Add("Round", {steps}));
  }
  if (!IsQuantized(c.Target())) return c.Unsupported("its result has no scale");
  MP_ASSIGN_OR_RETURN(const std::string x, c.InAs(0, DataType::kFloat));
  return c.Out(0, x);
}

absl::Status Bitcast(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  const DataType from = ToOnnxType(c.Source(0).type), to = ToOnnxType(c.Target().type);
  MP_ASSIGN_OR_RETURN(const std::string x, c.Raw(0));
  if (from == to) return c.OutRaw(0, x);
  const auto is_integer = [](DataType type) {
    return !IsFloatingPoint(type) && type != DataType::kBool && BitsPerElement(type) >= 8;
  };
  if (!is_integer(from) || !is_integer(to) || BitsPerElement(from) != BitsPerElement(to)) {
    return c.Unsupported(
        "it reads the bits of one type as another one, which ONNX has no operator "
        "for",
        "compute it outside of the model");
  }
  return c.OutRaw(0, c.builder().Cast(x, to));
}

absl::Status Dequantize(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  if (c.IsConstant(0)) {
    // Whoever reads the result reads the constant.
    c.scope().ReplaceTensor(c.op().outputs[0], &c.Source(0));
    return absl::OkStatus();
  }
  MP_ASSIGN_OR_RETURN(const std::string real, c.In(0));
  return c.Out(0, real, c.RealType(c.Source(0)));
}

absl::Status Densify(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  if (!c.IsConstant(0)) return c.Unsupported("its input is not constant");
  const SourceTensor* dense = &c.Source(0);
  if (dense->sparsity != nullptr) {
    MP_ASSIGN_OR_RETURN(dense, tflite::Densify(c.conversion(), *dense));
  }
  c.scope().ReplaceTensor(c.op().outputs[0], dense);
  return absl::OkStatus();
}

absl::Status FakeQuant(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  const auto& options = c.Options<schema::FakeQuantOptions>();
  const int bits = options.num_bits();
  if (bits < 2 || bits > 16 || !(options.min() <= 0) || !(options.max() >= 0) ||
      options.min() == options.max()) {
    return c.Malformed("its range does not include 0, or its bits are not 2 to 16");
  }
  const float lowest = options.narrow_range() ? 1 : 0,
              highest = static_cast<float>((1 << bits) - 1);
  const float scale = (options.max() - options.min()) / (highest - lowest);
  const float zero = lowest - options.min() / scale;
  const float nudged = std::clamp(std::round(zero), lowest, highest);
  const float low = (lowest - nudged) * scale, high = (highest - nudged) * scale;
  MP_ASSIGN_OR_RETURN(const std::string x, c.In(0));
  import::ModelBuilder& model = c.model();
  const std::string clipped = c.Add("Clip", {x, model.Float(low), model.Float(high)});
  // round(v) = floor(v + 1/2): halves go up.
  const std::string steps =
      c.Add("Div", {c.Add("Sub", {clipped, model.Float(low)}), model.Float(scale)});
  const std::string whole = c.Add("Floor", {c.Add("Add", {steps, model.Float(0.5f)})});
  return c.Out(0, c.Add("Add", {c.Add("Mul", {whole, model.Float(scale)}), model.Float(low)}));
}

}  // namespace

void RegisterTfliteOperators_number_format(OperatorRegistry& registry) {
  registry.Add(BuiltinOperator::CAST, Cast);
  registry.Add(BuiltinOperator::QUANTIZE, Quantize);
  registry.Add(BuiltinOperator::BITCAST, Bitcast);
  registry.Add(BuiltinOperator::DEQUANTIZE, Dequantize);
  registry.Add(BuiltinOperator::DENSIFY, Densify);
  registry.Add(BuiltinOperator::FAKE_QUANT, FakeQuant);
}

}  // namespace modelpress::tflite
