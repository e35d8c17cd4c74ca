// Convolutions that read each element of their window at a place of its own (torchvision's deform_conv2d, versions 1 and 2:
// https://arxiv.org/abs/1811.11168).
//
// The places are offsets from the regular window, vertical before horizontal, [batch, groups * elements * 2, height, width].
// GridSample reads all elements of the window, one below the other, zeros outside; they are multiplied by the mask, and a
// convolution over the axis of elements alone gives the sum. (Version 1.21 of the runtime has no DeformConv.)
#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {
namespace {

void DeformConvolution(OperatorContext& c) {
  const DataType type = FloatOnly(c.Target().type);
  const TensorMeta& weight = c.Meta("weight");
  if (c.Rank("input") != 4 || c.Rank("offset") != 4 || weight.rank() != 4 || !weight.is_static())
    return c.Malformed("its tensors are no images");
  const Ints w = weight.dims();
  const int64_t stride[] = {c.Int("stride_h", 1), c.Int("stride_w", 1)};
  const int64_t pad[] = {c.Int("pad_h", 0), c.Int("pad_w", 0)};
  const int64_t dilation[] = {c.Int("dilation_h", 1), c.Int("dilation_w", 1)};
  const int64_t groups = c.Int("groups", 1), offset_groups = c.Int("offset_groups", 1);
  const int64_t channels = c.Extent("input", 1), height = c.Extent("input", 2),
                width = c.Extent("input", 3), rows = c.Extent("offset", 2),
                columns = c.Extent("offset", 3);
  if (channels < 1 || height < 1 || width < 1 || rows < 1 || columns < 1)
    return c.Refuse("its extents are not known before the model runs", "give --input-shape");
  if (groups < 1 || offset_groups < 1 || channels % offset_groups != 0)
    return c.Malformed("its groups do not fit its channels");
  for (const int64_t value : {stride[0], stride[1], pad[0], pad[1], dilation[0], dilation[1]}) {
    if (value < 0 || value > (1 << 24)) return c.Malformed("its window is absurd");
  }
  constexpr double kMost = 1 << 24;
  const double places = static_cast<double>(w[2]) * static_cast<double>(w[3]) *
                        static_cast<double>(rows) * static_cast<double>(columns);
  if (!(places < kMost) || !c.Affordable(2 * places)) return;
  const int64_t elements = w[2] * w[3];
  // Regular places, x before y, from -1 to 1 at the outer edges of the image: (2 place + 1) / extent - 1.
  std::vector<float> regular;
  for (int64_t k = 0; k < elements; ++k) {
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < columns; ++j) {
        const int64_t x = j * stride[1] - pad[1] + k % w[3] * dilation[1];
        const int64_t y = i * stride[0] - pad[0] + k / w[3] * dilation[0];
        regular.push_back(static_cast<float>(2 * x + 1) / static_cast<float>(width) - 1);
        regular.push_back(static_cast<float>(2 * y + 1) / static_cast<float>(height) - 1);
      }
    }
  }
  const auto constant = [&](const std::vector<float>& values, const Ints& dims) {
    return c.Cast(c.model().Floats(values, dims), DataType::kFloat, type);
  };
  std::string offset = c.Reshape(c.InAs("offset", type), Ints{-1, elements, 2, rows, columns});
  offset = c.Add("Gather", {offset, c.Ints64({1, 0})}, {{"axis", int64_t{2}}});
  offset = c.builder().Transpose(offset, {0, 1, 3, 4, 2});
  const std::vector<float> steps = {2 / static_cast<float>(width), 2 / static_cast<float>(height)};
  std::string grid = c.Add("Mul", {offset, constant(steps, Ints{2})});
  grid = c.Add("Add", {grid, constant(regular, Ints{elements, rows, columns, 2})});
  grid = c.Reshape(grid, Ints{-1, elements * rows, columns, 2});
  std::string image = c.InAs("input", type);
  if (offset_groups > 1)
    image = c.Reshape(image, Ints{-1, channels / offset_groups, height, width});
  std::string read = c.Add("GridSample", {image, grid},
                           {{"mode", std::string("linear")},
                            {"padding_mode", std::string("zeros")},
                            {"align_corners", int64_t{0}}});
  if (c.Bool("use_mask", c.Has("mask"))) {
    // One factor for all channels of an offset group.
    read = c.Reshape(read, Ints{-1, channels / offset_groups, elements, rows, columns});
    const std::string mask = c.Reshape(c.InAs("mask", type), Ints{-1, 1, elements, rows, columns});
    read = c.Add("Mul", {read, mask});
  }
  read = c.Reshape(read, Ints{-1, channels, elements, rows, columns});
  Names inputs = {read, c.Reshape(c.InAs("weight", type), Ints{w[0], w[1], elements, 1, 1})};
  if (c.Has("bias")) inputs.push_back(c.InAs("bias", type));
  const std::string y =
      c.Add("Conv", std::move(inputs), {{"kernel_shape", Ints{elements, 1, 1}}, {"group", groups}});
  c.Out(c.Squeeze(y, {2}), type);
}

}  // namespace

void RegisterPt2Operators_deform_convolution(OperatorRegistry& registry) {
  registry.Add("torchvision.deform_conv2d", DeformConvolution);
}

}  // namespace modelpress::pt2
