// Convolutions: CONV_2D (versions 1 to 8), DEPTHWISE_CONV_2D (1 to 7), CONV_3D (1); float32, float weights of 16 bits,
// int8 weights with float activations, int8, uint8, int16 activations, int4 weights.
//
//   x --> Transpose to channels first --> Conv --> fused activation --> Transpose to channels last
//   weights  CONV_2D [out, h, w, in] -> [out, in, h, w], groups where the input has more channels than the filter
//            DEPTHWISE_CONV_2D [1, h, w, in * multiplier] -> [in * multiplier, 1, h, w], a group for each channel
//            CONV_3D [d, h, w, in, out] -> [out, in, d, h, w]
// A PAD of zeros before it that nothing else reads becomes its padding. The Transposes are moved and cancelled when the graph is whole (core/rewrite).
#include "core/formats/tflite/window.h"

namespace modelpress::tflite {
namespace {

struct Convolution {
  std::vector<int64_t> weight_permutation;
  std::vector<WindowAxis> axes;
  schema::Padding padding = schema::Padding::VALID;
  schema::ActivationFunctionType activation = schema::ActivationFunctionType::NONE;
  int64_t groups = 1;
  int weight = 1, input = 0, bias = 2;
};

// A PAD of zeros on spatial axes that only this convolution reads: its pads in ONNX's order, and what it pads.
struct Padded {
  int tensor = -1;
  std::vector<int64_t> pads;
};

std::optional<Padded> PadBefore(OperatorContext& c, const Convolution& conv) {
  if (conv.padding != schema::Padding::VALID) return std::nullopt;
  const SourceOperator* op = c.scope().OnlyReadFrom(c.op().inputs[conv.input]);
  if (op == nullptr || op->code != BuiltinOperator::PAD) return std::nullopt;
  OperatorContext pad(&c.scope(), op);
  const absl::StatusOr<std::vector<int64_t>> pairs = pad.Ints(1);
  const size_t rank = conv.axes.size() + 2;
  if (!pairs.ok() || pairs->size() != 2 * rank || !pad.MovesCodes(0)) return std::nullopt;
  for (const size_t i : {size_t{0}, size_t{1}, 2 * rank - 2, 2 * rank - 1}) {
    if ((*pairs)[i] != 0) return std::nullopt;
  }
  Padded padded{op->inputs[0], {}};
  for (size_t side = 0; side < 2; ++side) {
    for (size_t axis = 1; axis + 1 < rank; ++axis) padded.pads.push_back((*pairs)[2 * axis + side]);
  }
  return padded;
}

absl::Status Emit(OperatorContext& c, const Convolution& conv) {
  const int rank = static_cast<int>(conv.axes.size()) + 2;
  GraphScope& scope = c.scope();
  const std::optional<Padded> padded = PadBefore(c, conv);
  MP_ASSIGN_OR_RETURN(const std::string x,
                      padded.has_value() ? scope.Real(padded->tensor) : c.In(conv.input));
  MP_ASSIGN_OR_RETURN(const std::string w,
                      scope.Permuted(c.op().inputs[conv.weight], conv.weight_permutation));
  MP_ASSIGN_OR_RETURN(const std::string bias, c.Bias(conv.bias, conv.input, conv.weight));
  MP_ASSIGN_OR_RETURN(Attributes attributes, WindowAttributes(c, conv.axes, conv.padding));
  if (padded.has_value()) attributes.push_back({"pads", padded->pads});
  if (conv.groups != 1) attributes.push_back({"group", conv.groups});
  std::string y = c.Add("Conv", {scope.ChannelsFirst(x, rank), w, bias}, std::move(attributes));
  MP_ASSIGN_OR_RETURN(y, c.Activate(y, conv.activation));
  return c.Out(0, scope.ChannelsLast(y, rank));
}

// Ranks, and extents that must be known.
absl::Status Check(OperatorContext& c, int rank) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  MP_ASSIGN_OR_RETURN(const int input, c.KnownRank(0));
  MP_ASSIGN_OR_RETURN(const int weight, c.KnownRank(1));
  if (input != rank || weight != rank)
    return c.Malformed("its input or filter has another rank than it needs");
  if (!c.Source(1).is_static()) return c.Unsupported("the shape of its filter is not known");
  for (const int64_t extent : c.Source(1).shape) {
    if (extent < 1) return c.Malformed("its filter is empty");
  }
  return absl::OkStatus();
}

absl::Status Conv2D(OperatorContext& c) {
  MP_RETURN_IF_ERROR(Check(c, 4));
  const auto& options = c.Options<schema::Conv2DOptions>();
  const auto &x = c.Source(0).shape, &w = c.Source(1).shape;
  Convolution conv;
  conv.weight_permutation = {0, 3, 1, 2};
  conv.axes = {{x[1], w[1], options.stride_h(), options.dilation_h_factor()},
               {x[2], w[2], options.stride_w(), options.dilation_w_factor()}};
  conv.padding = options.padding();
  conv.activation = options.fused_activation_function();
  if (x[3] > 0) {
    if (x[3] % w[3] != 0)
      return c.Malformed("the channels of its input and filter do not fit together");
    conv.groups = x[3] / w[3];
  }
  return Emit(c, conv);
}

absl::Status DepthwiseConv2D(OperatorContext& c) {
  MP_RETURN_IF_ERROR(Check(c, 4));
  const auto& options = c.Options<schema::DepthwiseConv2DOptions>();
  const auto &x = c.Source(0).shape, &w = c.Source(1).shape;
  if (x[3] < 1) return c.Unsupported("the number of channels of its input is not known");
  if (w[0] != 1 || w[3] % x[3] != 0)
    return c.Malformed("the channels of its input and filter do not fit together");
  Convolution conv;
  conv.weight_permutation = {3, 0, 1, 2};
  conv.axes = {{x[1], w[1], options.stride_h(), options.dilation_h_factor()},
               {x[2], w[2], options.stride_w(), options.dilation_w_factor()}};
  conv.padding = options.padding();
  conv.activation = options.fused_activation_function();
  conv.groups = x[3];
  return Emit(c, conv);
}

absl::Status Conv3D(OperatorContext& c) {
  MP_RETURN_IF_ERROR(Check(c, 5));
  const auto& options = c.Options<schema::Conv3DOptions>();
  const auto &x = c.Source(0).shape, &w = c.Source(1).shape;
  Convolution conv;
  conv.weight_permutation = {4, 3, 0, 1, 2};
  conv.axes = {{x[1], w[0], options.stride_d(), options.dilation_d_factor()},
               {x[2], w[1], options.stride_h(), options.dilation_h_factor()},
               {x[3], w[2], options.stride_w(), options.dilation_w_factor()}};
  conv.padding = options.padding();
  conv.activation = options.fused_activation_function();
  if (x[4] > 0) {
    if (x[4] % w[3] != 0)
      return c.Malformed("the channels of its input and filter do not fit together");
    conv.groups = x[4] / w[3];
  }
  return Emit(c, conv);
}

}  // namespace

void RegisterTfliteOperators_convolution(OperatorRegistry& registry) {
  registry.Add(BuiltinOperator::CONV_2D, Conv2D);
  registry.Add(BuiltinOperator::DEPTHWISE_CONV_2D, DepthwiseConv2D);
  registry.Add(BuiltinOperator::CONV_3D, Conv3D);
}

}  // namespace modelpress::tflite
