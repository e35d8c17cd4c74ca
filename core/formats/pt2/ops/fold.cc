// Sliding blocks as columns: im2col (unfold) -> Pad, Gather of the windows of both axes, Transpose, Reshape; col2im (fold)
// -> Col2Im.
#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {
namespace {

struct Blocks {
  Ints kernel, dilation, padding, stride;
};

bool Read(OperatorContext& c, Blocks* blocks) {
  blocks->kernel = c.Spatial("kernel_size", 2, 1);
  blocks->dilation = c.Spatial("dilation", 2, 1);
  blocks->padding = c.Spatial("padding", 2, 0);
  blocks->stride = c.Spatial("stride", 2, 1);
  constexpr int64_t kMost = 1 << 20;
  for (size_t i = 0; i < 2; ++i) {
    if (blocks->kernel[i] < 1 || blocks->dilation[i] < 1 || blocks->stride[i] < 1 ||
        blocks->padding[i] < 0 || blocks->kernel[i] > kMost || blocks->dilation[i] > kMost ||
        blocks->stride[i] > kMost || blocks->padding[i] > kMost) {
      c.Malformed("its blocks are empty or absurd");
      return false;
    }
  }
  return true;
}

void Im2Col(OperatorContext& c) {
  Blocks blocks;
  if (!Read(c, &blocks)) return;
  const int rank = c.Rank("self");
  if (rank != 4 && rank != 3) return c.Malformed("its input is no image");
  const DataType type = ComputeType(c.Target().type);
  std::string x = c.InAs("self", type);
  if (rank == 3) x = c.Unsqueeze(x, {0});
  const Ints& p = blocks.padding;
  if (p[0] > 0 || p[1] > 0) x = c.Add("Pad", {x, c.Ints64({0, 0, p[0], p[1], 0, 0, p[0], p[1]})});
  int64_t columns = 1;
  for (size_t i = 0; i < 2; ++i) {
    const int64_t extent = c.Extent("self", rank - 2 + static_cast<int64_t>(i));
    if (extent < 0)
      return c.Refuse("its extents are not known before the model runs", "give --input-shape");
    const int64_t reach = blocks.dilation[i] * (blocks.kernel[i] - 1) + 1,
                  room = extent + 2 * p[i] - reach;
    if (room < 0) return c.Malformed("its blocks are larger than its input");
    const int64_t count = room / blocks.stride[i] + 1;
    if (!c.Affordable(static_cast<double>(count) * static_cast<double>(blocks.kernel[i]))) return;
    Ints table;
    for (int64_t k = 0; k < blocks.kernel[i]; ++k) {
      for (int64_t o = 0; o < count; ++o)
        table.push_back(k * blocks.dilation[i] + o * blocks.stride[i]);
    }
    x = c.Add("Gather",
              {x, c.model().Constant(DataType::kInt64, Ints{blocks.kernel[i], count},
                                     std::as_bytes(std::span(table)))},
              {{"axis", int64_t{2 + 2 * static_cast<int64_t>(i)}}});
    columns *= count;
  }
  // [batch, channels, kh, oh, kw, ow] -> [batch, channels * kh * kw, oh * ow]
  x = c.builder().Transpose(x, {0, 1, 2, 4, 3, 5});
  x = c.builder().Reshape(x, {0, -1, columns}, /*copy_zeros=*/true);
  c.Out(rank == 3 ? c.Squeeze(x, {0}) : x, type);
}

void Col2Im(OperatorContext& c) {
  Blocks blocks;
  if (!Read(c, &blocks)) return;
  const Ints image = c.Spatial("output_size", 2, 1), &p = blocks.padding;
  const int rank = c.Rank("self");
  if (rank != 3 && rank != 2) return c.Malformed("its input is no table of columns");
  const DataType type = FloatOnly(c.Target().type);
  std::string x = c.InAs("self", type);
  if (rank == 2) x = c.Unsqueeze(x, {0});
  std::string y = c.Add("Col2Im", {x, c.Ints64(image), c.Ints64(blocks.kernel)},
                        {{"dilations", blocks.dilation},
                         {"pads", Ints{p[0], p[1], p[0], p[1]}},
                         {"strides", blocks.stride}});
  c.Out(rank == 2 ? c.Squeeze(y, {0}) : y, type);
}

}  // namespace

void RegisterPt2Operators_fold(OperatorRegistry& registry) {
  registry.Add("aten.im2col", Im2Col);
  registry.Add("aten.col2im", Col2Im);
}

}  // namespace modelpress::pt2
