// Convolutions of one, two and three axes, and transposed ones.
//
//   conv1d, conv2d, conv3d, convolution -> Conv      conv_transpose -> ConvTranspose with output_padding
// Weights are laid out alike. padding "same" puts what is odd at the end. Without a batch axis, one is added and taken off.
#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {
namespace {

void Convolution(OperatorContext& c) {
  const std::string_view name = c.name();
  const TensorMeta& weight = c.Meta("weight");
  const int axes = weight.rank() - 2;
  const bool transposed = name.starts_with("conv_transpose") || c.Bool("transposed", false);
  const int rank = c.Rank("input");
  if (axes < 1 || axes > 3 || (rank != axes + 2 && rank != axes + 1) || !weight.is_static()) {
    return c.Refuse("it has other axes than one, two or three");
  }
  if (name != "convolution" && name != "_convolution" &&
      !name.ends_with(std::to_string(axes) + "d")) {
    return c.Malformed("its weight has other axes than it");
  }
  const Ints stride = c.Spatial("stride", axes, 1), dilation = c.Spatial("dilation", axes, 1);
  const Ints output_padding = c.Spatial("output_padding", axes, 0);
  const int64_t groups = c.Int("groups", 1);
  Ints kernel, pads(static_cast<size_t>(axes) * 2, 0);
  for (int i = 0; i < axes; ++i) {
    const size_t at = static_cast<size_t>(i);
    kernel.push_back(*weight.sizes[at + 2].value);
    if (stride[at] < 1 || dilation[at] < 1 || kernel[at] < 1 || dilation[at] > (1 << 24) ||
        kernel[at] > (1 << 24)) {
      return c.Malformed("its window is empty or absurd");
    }
  }
  if (groups < 1) return c.Malformed("its groups are not positive");
  if (const std::string mode = c.Text("padding", ""); mode == "same") {
    for (size_t i = 0; i < kernel.size(); ++i) {
      const int64_t total = dilation[i] * (kernel[i] - 1);
      pads[i] = total / 2;
      pads[i + kernel.size()] = total - total / 2;
    }
  } else if (mode.empty()) {
    const Ints padding = c.Spatial("padding", axes, 0);
    for (size_t i = 0; i < kernel.size(); ++i) pads[i] = pads[i + kernel.size()] = padding[i];
  }
  const DataType type = FloatOnly(c.Target().type);
  std::string x = c.InAs("input", type);
  if (rank == axes + 1) x = c.Unsqueeze(x, {0});
  Names inputs = {x, c.InAs("weight", type)};
  if (c.Has("bias")) inputs.push_back(c.InAs("bias", type));
  Attributes attributes = {{"kernel_shape", kernel},
                           {"strides", stride},
                           {"pads", pads},
                           {"dilations", dilation},
                           {"group", groups}};
  if (transposed) attributes.push_back({"output_padding", output_padding});
  std::string y =
      c.Add(transposed ? "ConvTranspose" : "Conv", std::move(inputs), std::move(attributes));
  if (rank == axes + 1) y = c.Squeeze(y, {0});
  c.Out(y, type);
}

// [time, batch, channels], weights [width, in, out].
void ConvolutionOverTime(OperatorContext& c) {
  const DataType type = FloatOnly(c.Target().type);
  const int64_t pad = c.Int("pad", 0);
  if (pad < 0) return c.Malformed("its padding is negative");
  const std::string x = c.builder().Transpose(c.InAs("self", type), {1, 2, 0});
  const std::string w = c.builder().Transpose(c.InAs("weight", type), {2, 1, 0});
  const std::string y = c.Add("Conv", {x, w, c.InAs("bias", type)}, {{"pads", Ints{pad, pad}}});
  c.Out(c.builder().Transpose(y, {2, 0, 1}), type);
}

}  // namespace

void RegisterPt2Operators_convolution(OperatorRegistry& registry) {
  registry.Add(
      {"aten.conv1d", "aten.conv2d", "aten.conv3d", "aten.convolution", "aten._convolution",
       "aten.conv_transpose1d", "aten.conv_transpose2d", "aten.conv_transpose3d"},
      Convolution);
  registry.Add("aten.conv_tbc", ConvolutionOverTime);
}

}  // namespace modelpress::pt2
