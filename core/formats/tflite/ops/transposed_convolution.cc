// Transposed convolutions: TRANSPOSE_CONV (versions 1 to 5), CONV_3D_TRANSPOSE (1), MediaPipe's custom
// Convolution2DTransposeBias; float32, int8, uint8, int16 activations.
//
//   x --> Transpose to channels first --> ConvTranspose --> fused activation --> Transpose to channels last
//   weights  [out, h, w, in] -> [in, out, h, w];  3-D: [d, h, w, out, in] -> [in, out, d, h, w]
// The extent of the output is given, which fixes the padding: begin = floor(total / 2) of
// total = (input - 1) * stride + kernel - output, as if the output were convolved back.
#include <algorithm>
#include <cstring>

#include "core/formats/tflite/window.h"

namespace modelpress::tflite {
namespace {

struct Transposed {
  std::vector<int64_t> weight_permutation;
  std::vector<WindowAxis> axes;
  std::vector<int64_t> output;  // spatial extents
  schema::ActivationFunctionType activation = schema::ActivationFunctionType::NONE;
  schema::Padding padding = schema::Padding::SAME;
  int input = 2, weight = 1, bias = 3;
};

absl::Status Emit(OperatorContext& c, const Transposed& conv) {
  const int rank = static_cast<int>(conv.axes.size()) + 2;
  std::vector<int64_t> strides, dilations, begins, ends, extra;
  for (size_t i = 0; i < conv.axes.size(); ++i) {
    const WindowAxis& axis = conv.axes[i];
    if (axis.stride < 1 || axis.dilation < 1)
      return c.Malformed("a stride of its window is below 1");
    if (conv.output[i] < 1 || axis.input < 1)
      return c.Unsupported("the extents of its input or output are not known");
    const int64_t reach = (axis.kernel - 1) * axis.dilation + 1;
    const int64_t total = (axis.input - 1) * axis.stride + reach - conv.output[i];
    strides.push_back(axis.stride);
    dilations.push_back(axis.dilation);
    begins.push_back(std::max<int64_t>(total, 0) / 2);
    ends.push_back(std::max<int64_t>(total, 0) - begins.back());
    extra.push_back(std::max<int64_t>(-total, 0));
    if (extra.back() >= axis.stride && extra.back() > 0) {
      return c.Unsupported("its output reaches further than its last window");
    }
    if (begins.back() >= reach || ends.back() >= reach)
      return c.Malformed("its output is too small for its input");
  }
  GraphScope& scope = c.scope();
  MP_ASSIGN_OR_RETURN(const std::string x, c.In(conv.input));
  MP_ASSIGN_OR_RETURN(const std::string w,
                      scope.Permuted(c.op().inputs[conv.weight], conv.weight_permutation));
  MP_ASSIGN_OR_RETURN(const std::string bias, c.Bias(conv.bias, conv.input, conv.weight));
  begins.insert(begins.end(), ends.begin(), ends.end());
  Attributes attributes = {{"strides", strides}};
  const auto any = [](const std::vector<int64_t>& list, int64_t neutral) {
    return std::ranges::any_of(list, [neutral](int64_t value) { return value != neutral; });
  };
  if (any(begins, 0)) attributes.push_back({"pads", begins});
  if (any(dilations, 1)) attributes.push_back({"dilations", dilations});
  if (any(extra, 0)) attributes.push_back({"output_padding", extra});
  std::string y =
      c.Add("ConvTranspose", {scope.ChannelsFirst(x, rank), w, bias}, std::move(attributes));
  MP_ASSIGN_OR_RETURN(y, c.Activate(y, conv.activation));
  return c.Out(0, scope.ChannelsLast(y, rank));
}

// The spatial extents of the output: from the shape that is given as input 0, else from the output itself.
absl::StatusOr<std::vector<int64_t>> OutputExtents(OperatorContext& c, int rank) {
  std::vector<int64_t> shape = c.Target().shape;
  if (c.IsConstant(0)) {
    MP_ASSIGN_OR_RETURN(shape, c.Ints(0));
  }
  if (static_cast<int>(shape.size()) != rank)
    return c.Unsupported("the shape of its output is not known");
  return std::vector<int64_t>(shape.begin() + 1, shape.end() - 1);
}

absl::Status Check(OperatorContext& c, int input, int weight, int rank) {
  MP_ASSIGN_OR_RETURN(const int input_rank, c.KnownRank(input));
  MP_ASSIGN_OR_RETURN(const int weight_rank, c.KnownRank(weight));
  if (input_rank != rank || weight_rank != rank) {
    return c.Malformed("its input or filter has another rank than it needs");
  }
  if (!c.Source(weight).is_static()) return c.Unsupported("the shape of its filter is not known");
  return absl::OkStatus();
}

absl::Status TransposeConv(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(3, 1));
  MP_RETURN_IF_ERROR(Check(c, 2, 1, 4));
  const auto& options = c.Options<schema::TransposeConvOptions>();
  const auto &x = c.Source(2).shape, &w = c.Source(1).shape;
  Transposed conv;
  conv.weight_permutation = {3, 0, 1, 2};
  conv.axes = {{x[1], w[1], options.stride_h(), 1}, {x[2], w[2], options.stride_w(), 1}};
  MP_ASSIGN_OR_RETURN(conv.output, OutputExtents(c, 4));
  conv.activation = options.fused_activation_function();
  return Emit(c, conv);
}

absl::Status Conv3DTranspose(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(3, 1));
  MP_RETURN_IF_ERROR(Check(c, 2, 1, 5));
  const auto& options = c.Options<schema::Conv3DOptions>();
  const auto &x = c.Source(2).shape, &w = c.Source(1).shape;
  Transposed conv;
  conv.weight_permutation = {4, 3, 0, 1, 2};
  conv.axes = {{x[1], w[0], options.stride_d(), options.dilation_d_factor()},
               {x[2], w[1], options.stride_h(), options.dilation_h_factor()},
               {x[3], w[2], options.stride_w(), options.dilation_w_factor()}};
  MP_ASSIGN_OR_RETURN(conv.output, OutputExtents(c, 5));
  conv.activation = options.fused_activation_function();
  return Emit(c, conv);
}

// Inputs: image, filter [out, h, w, in], bias. Options: three int32, padding (1 SAME, 2 VALID), stride_w, stride_h.
absl::Status TransposeBias(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  MP_RETURN_IF_ERROR(Check(c, 0, 1, 4));
  int32_t numbers[3];
  if (c.op().custom_options.size() < sizeof(numbers))
    return c.Malformed("its options are too short");
  std::memcpy(numbers, c.op().custom_options.data(), sizeof(numbers));
  const auto &x = c.Source(0).shape, &w = c.Source(1).shape;
  Transposed conv;
  conv.weight_permutation = {3, 0, 1, 2};
  conv.axes = {{x[1], w[1], numbers[2], 1}, {x[2], w[2], numbers[1], 1}};
  for (const WindowAxis& axis : conv.axes) {
    if (axis.input < 1) return c.Unsupported("the extents of its input are not known");
    if (axis.stride < 1) return c.Malformed("a stride of its window is below 1");
    // As mediapipe/util/tflite/operations/transpose_conv_bias.cc has it.
    const int64_t padding =
        numbers[0] == 1 ? std::max<int64_t>(axis.kernel - (axis.input - 1) % axis.stride - 1, 0)
                        : 0;
    conv.output.push_back((axis.input - 1) * axis.stride + axis.kernel - padding);
  }
  conv.input = 0;
  conv.bias = 2;
  return Emit(c, conv);
}

}  // namespace

void RegisterTfliteOperators_transposed_convolution(OperatorRegistry& registry) {
  registry.Add(BuiltinOperator::TRANSPOSE_CONV, TransposeConv);
  registry.Add(BuiltinOperator::CONV_3D_TRANSPOSE, Conv3DTranspose);
  registry.AddCustom("Convolution2DTransposeBias", TransposeBias);
}

}  // namespace modelpress::tflite
