// QuantizeLinear and DequantizeLinear as straight-through fake quantization (Bengio et al. 2013): codes are
// floating-point numbers, the gradient passes rounding and stops where a value is clamped.
#include "core/trainer/operator.h"

namespace modelpress::trainer {
namespace {

// Scales or zero points in a shape that broadcasts with x: one value, one for each index on `axis`, or one for each block
// of `block` values along it.
at::Tensor Spread(const at::Tensor& parameters, const at::Tensor& x, int64_t axis, int64_t block) {
  if (parameters.numel() == 1) return parameters.reshape({});
  if (block > 0) {
    return parameters.repeat_interleave(block, axis).narrow(axis, 0, x.size(axis));
  }
  std::vector<int64_t> shape(x.dim(), 1);
  shape[axis] = -1;
  return parameters.reshape(shape);
}

struct CodeRange {
  double low, high;
};

CodeRange RangeOf(onnx::TensorProto::DataType type) {
  switch (type) {
    case onnx::TensorProto::UINT8:
      return {0, 255};
    case onnx::TensorProto::INT8:
      return {-128, 127};
    case onnx::TensorProto::UINT16:
      return {0, 65535};
    case onnx::TensorProto::INT16:
      return {-32768, 32767};
    case onnx::TensorProto::UINT4:
      return {0, 15};
    case onnx::TensorProto::INT4:
      return {-8, 7};
    default:
      throw OperatorError("codes of this type are not known here");
  }
}

// The type of the codes is that of the zero point, whose tensor may be held in a wider one here: Graph tells it by the
// attribute output_dtype, which it adds.
Tensors QuantizeLinear(const OperatorCall& call) {
  const at::Tensor& x = call[0];
  const int64_t axis = call[1].numel() == 1 ? 0 : Axis(call.Int("axis", 1), x.dim());
  const int64_t block = call.Int("block_size", 0);
  const auto type = call.Int("output_dtype", 0);
  const CodeRange range = RangeOf(type == 0 ? onnx::TensorProto::UINT8
                                            : static_cast<onnx::TensorProto::DataType>(type));
  at::Tensor scaled = x / Spread(call[1], x, axis, block);
  at::Tensor rounded = at::round(scaled.detach());
  if (call.Has(2)) {
    const at::Tensor zero = Spread(call[2].to(x.scalar_type()), x, axis, block);
    scaled = scaled + zero;
    rounded = rounded + zero;
  }
  const at::Tensor passed = at::clamp(scaled, range.low, range.high);
  return {passed + (at::clamp(rounded, range.low, range.high) - passed).detach()};
}

Tensors DequantizeLinear(const OperatorCall& call) {
  if (call.settings().decoded) return {call[0]};
  const at::Tensor x = call[0].is_floating_point() ? call[0] : call[0].to(call[1].scalar_type());
  const int64_t axis = call[1].numel() == 1 ? 0 : Axis(call.Int("axis", 1), x.dim());
  const int64_t block = call.Int("block_size", 0);
  const at::Tensor scale = Spread(call[1], x, axis, block);
  if (!call.Has(2)) return {x * scale};
  return {(x - Spread(call[2].to(x.scalar_type()), x, axis, block)) * scale};
}

}  // namespace

void RegisterOperators_quantize(OperatorRegistry& registry) {
  registry.Add("QuantizeLinear", QuantizeLinear);
  registry.Add("DequantizeLinear", DequantizeLinear);
  registry.Add("QuantizeLinear", QuantizeLinear, "com.microsoft");
  registry.Add("DequantizeLinear", DequantizeLinear, "com.microsoft");
}

}  // namespace modelpress::trainer
