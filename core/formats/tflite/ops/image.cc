// Images: RESIZE_BILINEAR, RESIZE_NEAREST_NEIGHBOR, DEPTH_TO_SPACE, SPACE_TO_DEPTH, SPACE_TO_BATCH_ND, BATCH_TO_SPACE_ND
// (all versions; float32, codes, which stay codes where elements only move).
//
//   RESIZE_* -> Resize over the two spatial axes. Coordinates: align_corners; half_pixel; else asymmetric. Nearest
//     rounds down, with align_corners or half pixels to the nearest, halves up.
//     Linear with 16-bit codes: products with matrices of weights, whose places are as coarse as the source's
//   DEPTH_TO_SPACE -> DepthToSpace (mode DCR)            SPACE_TO_DEPTH -> SpaceToDepth
//     other types than float32: Reshape, Transpose, Reshape
//   SPACE_TO_BATCH_ND -> Pad, Reshape, Transpose, Reshape; BATCH_TO_SPACE_ND the other way round, Slice for its crops
#include <algorithm>

#include "core/formats/tflite/operator.h"

namespace modelpress::tflite {
namespace {

// Weights [out, in] of a linear interpolation whose places are whole steps of 1 / 1024, as LiteRT computes them for codes
// (ResizeBilinearInteger in reference/resize_bilinear.h).
std::string StepWeights(OperatorContext& c, int64_t in, int64_t out, bool align_corners,
                        bool half_pixel) {
  constexpr int64_t kOne = 1024;
  const bool corners = align_corners && out > 1;
  const int64_t scale =
      corners ? (kOne * (in - 1) + (out - 1) / 2) / (out - 1) : (kOne * in + out / 2) / out;
  std::vector<float> weights(in * out, 0.0f);
  for (int64_t i = 0; i < out; ++i) {
    const int64_t at = half_pixel ? i * scale + scale / 2 - kOne / 2 : i * scale;
    const int64_t low = std::max<int64_t>(at / kOne, 0),
                  high = std::min((at + kOne - 1) / kOne, in - 1);
    const float above = static_cast<float>(at - low * kOne) / kOne;
    weights[i * in + std::min(low, in - 1)] += 1 - above;
    weights[i * in + std::max<int64_t>(high, 0)] += above;
  }
  const int64_t dims[] = {out, in};
  return c.model().Floats(weights, dims);
}

// Whether those places are the exact ones, as when an image grows by 2 or 4: then Resize is as good.
bool HasExactPlaces(int64_t in, int64_t out, bool align_corners, bool half_pixel) {
  if (in < 1 || out < 1) return false;
  const bool corners = align_corners && out > 1;
  const int64_t from = 1024 * (corners ? in - 1 : in), to = corners ? out - 1 : out;
  return from % to == 0 && (!half_pixel || from / to % 2 == 0);
}

// Both axes as products with matrices of weights.
absl::Status ResizeInSteps(OperatorContext& c, const std::string& x,
                           const std::vector<int64_t>& extents, bool align_corners,
                           bool half_pixel) {
  const std::vector<int64_t>& shape = c.Source(0).shape;
  if (extents.size() != 2 || extents[0] < 1 || extents[1] < 1 || shape[1] < 1 || shape[2] < 1)
    return c.Malformed("its size is not valid");
  for (int i = 0; i < 2; ++i) MP_RETURN_IF_ERROR(c.Limit(extents[i], shape[1 + i]));
  const std::string rows = StepWeights(c, shape[1], extents[0], align_corners, half_pixel),
                    columns = StepWeights(c, shape[2], extents[1], align_corners, half_pixel);
  std::string y = c.builder().Reshape(x, {shape[0], shape[1], shape[2] * shape[3]});
  y = c.Add("MatMul", {rows, y});
  y = c.builder().Reshape(y, {shape[0], extents[0], shape[2], shape[3]});
  return c.Out(0, c.Add("MatMul", {columns, y}));
}

absl::Status Resize(OperatorContext& c, bool linear, bool align_corners, bool half_pixel) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  MP_ASSIGN_OR_RETURN(const int rank, c.KnownRank(0));
  if (rank != 4) return c.Malformed("its input has no four axes");
  // The runtime cuts interpolated codes off where the source rounds them.
  const bool codes = !linear && c.MovesCodes(0) && IsQuantized(c.Source(0)) &&
                     c.Source(0).type != TensorType::INT16;
  const DataType type =
      codes || !IsQuantized(c.Source(0)) ? ToOnnxType(c.Source(0).type) : DataType::kFloat;
  std::string x;
  if (codes) {
    MP_ASSIGN_OR_RETURN(x, c.Raw(0));
  } else {
    MP_ASSIGN_OR_RETURN(x, c.In(0));
  }
  if (linear && c.Source(0).type == TensorType::INT16 && IsQuantized(c.Source(0)) &&
      c.Source(0).is_static() && c.IsConstant(1)) {
    MP_ASSIGN_OR_RETURN(const std::vector<int64_t> extents, c.Ints(1));
    bool exact = extents.size() == 2;
    for (size_t i = 0; exact && i < 2; ++i) {
      exact = HasExactPlaces(c.Source(0).shape[1 + i], extents[i], align_corners, half_pixel);
    }
    if (!exact) return ResizeInSteps(c, x, extents, align_corners, half_pixel);
  }
  MP_ASSIGN_OR_RETURN(const std::string size, c.Int64In(1));
  Attributes attributes = {
      {"axes", std::vector<int64_t>{1, 2}},
      {"mode", std::string(linear ? "linear" : "nearest")},
      {"coordinate_transformation_mode", std::string(align_corners ? "align_corners"
                                                     : half_pixel  ? "half_pixel"
                                                                   : "asymmetric")}};
  if (!linear) {
    attributes.push_back(
        {"nearest_mode", std::string(align_corners || half_pixel ? "round_prefer_ceil" : "floor")});
  }
  const std::string y = c.Add("Resize", {x, "", "", size}, std::move(attributes));
  return codes ? c.OutRaw(0, y) : c.Out(0, y, type);
}

absl::Status ResizeBilinear(OperatorContext& c) {
  const auto& options = c.Options<schema::ResizeBilinearOptions>();
  return Resize(c, true, options.align_corners(), options.half_pixel_centers());
}

absl::Status ResizeNearest(OperatorContext& c) {
  const auto& options = c.Options<schema::ResizeNearestNeighborOptions>();
  return Resize(c, false, options.align_corners(), options.half_pixel_centers());
}

absl::Status DepthSpace(OperatorContext& c, std::string_view op, int64_t block) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  MP_ASSIGN_OR_RETURN(const int rank, c.KnownRank(0));
  if (rank != 4 || block < 1)
    return c.Malformed("its input has no four axes, or its block is below 1");
  if (block > (1 << 15)) return c.Malformed("its block is too large");
  if (c.RealType(c.Source(0)) == DataType::kFloat && !IsQuantized(c.Source(0))) {
    MP_ASSIGN_OR_RETURN(const std::string x, c.In(0));
    const std::string y = c.Add(op, {c.scope().ChannelsFirst(x, 4)}, {{"blocksize", block}});
    return c.Out(0, c.scope().ChannelsLast(y, 4));
  }
  // The runtime has kernels for float, and puts codes into them all the same where they move between equal scales: elements
  // are moved as what they are.
  const std::vector<int64_t>& shape = c.Source(0).shape;
  const int64_t h = shape[1], w = shape[2], d = shape[3];
  if (h < 0 || w < 0 || d < 0)
    return c.Unsupported("the extents of its input are not known",
                         "export the model with fixed shapes");
  MP_ASSIGN_OR_RETURN(const std::string x, c.Moved(0));
  const std::string first = c.scope().ChannelsFirst(x, 4);
  import::GraphBuilder& b = c.builder();
  std::string y;
  if (op == "DepthToSpace") {
    if (d % (block * block) != 0) return c.Malformed("its channels are no multiple of its blocks");
    const int64_t rest = d / (block * block);
    y = b.Transpose(b.Reshape(first, {-1, block, block, rest, h, w}), {0, 3, 4, 1, 5, 2});
    y = b.Reshape(y, {-1, rest, h * block, w * block});
  } else {
    if (h % block != 0 || w % block != 0)
      return c.Malformed("its extents are no multiple of its blocks");
    y = b.Transpose(b.Reshape(first, {-1, d, h / block, block, w / block, block}),
                    {0, 3, 5, 1, 2, 4});
    y = b.Reshape(y, {-1, block * block * d, h / block, w / block});
  }
  return c.OutMoved(0, 0, c.scope().ChannelsLast(y, 4));
}

struct Blocks {
  std::vector<int64_t> block, edges;  // edges: [spatial, 2]
  int64_t count = 1;                  // product of block
};

absl::StatusOr<Blocks> ReadBlocks(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(3, 1));
  MP_ASSIGN_OR_RETURN(const int rank, c.KnownRank(0));
  Blocks blocks;
  MP_ASSIGN_OR_RETURN(blocks.block, c.Ints(1));
  MP_ASSIGN_OR_RETURN(blocks.edges, c.Ints(2));
  if (blocks.block.empty() || static_cast<int>(blocks.block.size()) + 1 > rank ||
      blocks.edges.size() != 2 * blocks.block.size()) {
    return c.Malformed("its blocks do not fit its input");
  }
  for (const int64_t extent : blocks.block) {
    if (extent < 1 || extent > (1 << 20)) return c.Malformed("a block is below 1");
    MP_RETURN_IF_ERROR(c.Limit(blocks.count, extent));
    blocks.count *= extent;
  }
  for (const int64_t edge : blocks.edges) {
    if (edge < 0) return c.Malformed("a padding is negative");
  }
  for (int i = 1; i < rank; ++i) {
    if (c.Source(0).shape[i] < 0) return c.Unsupported("the shape of its input is not known");
  }
  return blocks;
}

absl::Status SpaceToBatch(OperatorContext& c) {
  MP_ASSIGN_OR_RETURN(const Blocks blocks, ReadBlocks(c));
  MP_ASSIGN_OR_RETURN(std::string x, c.In(0));
  const DataType type = c.ComputeType(c.Source(0));
  std::vector<int64_t> shape = c.Source(0).shape;
  const int64_t rank = static_cast<int64_t>(shape.size()),
                spatial = static_cast<int64_t>(blocks.block.size());
  std::vector<int64_t> pads(2 * rank, 0);
  bool padded = false;
  for (int64_t i = 0; i < spatial; ++i) {
    pads[1 + i] = blocks.edges[2 * i];
    pads[rank + 1 + i] = blocks.edges[2 * i + 1];
    shape[1 + i] += blocks.edges[2 * i] + blocks.edges[2 * i + 1];
    padded |= pads[1 + i] + pads[rank + 1 + i] > 0;
    if (shape[1 + i] % blocks.block[i] != 0)
      return c.Malformed("its padded input is no multiple of its blocks");
  }
  if (padded) x = c.Add("Pad", {x, c.model().Int64s(pads)});
  // [n, s1/b1, b1, s2/b2, b2, rest] -> [b1, b2, n, s1/b1, s2/b2, rest]
  std::vector<int64_t> split = {shape[0]}, perm,
                       merged = {shape[0] < 0 ? -1 : shape[0] * blocks.count};
  for (int64_t i = 0; i < spatial; ++i) {
    split.push_back(shape[1 + i] / blocks.block[i]);
    split.push_back(blocks.block[i]);
    perm.push_back(2 + 2 * i);
    merged.push_back(shape[1 + i] / blocks.block[i]);
  }
  perm.push_back(0);
  for (int64_t i = 0; i < spatial; ++i) perm.push_back(1 + 2 * i);
  for (int64_t i = 1 + spatial; i < rank; ++i) {
    perm.push_back(static_cast<int64_t>(split.size()));
    split.push_back(shape[i]);
    merged.push_back(shape[i]);
  }
  x = c.builder().Reshape(c.builder().Transpose(c.builder().Reshape(x, split), perm), merged);
  return c.Out(0, x, type);
}

absl::Status BatchToSpace(OperatorContext& c) {
  MP_ASSIGN_OR_RETURN(const Blocks blocks, ReadBlocks(c));
  MP_ASSIGN_OR_RETURN(std::string x, c.In(0));
  const DataType type = c.RealType(c.Source(0));
  const std::vector<int64_t>& shape = c.Source(0).shape;
  const int64_t rank = static_cast<int64_t>(shape.size()),
                spatial = static_cast<int64_t>(blocks.block.size());
  if (shape[0] >= 0 && shape[0] % blocks.count != 0)
    return c.Malformed("its batch is no multiple of its blocks");
  // [b1, b2, n, s1, s2, rest] -> [n, s1, b1, s2, b2, rest]
  const int64_t batch = shape[0] < 0 ? -1 : shape[0] / blocks.count;
  std::vector<int64_t> split = blocks.block, perm = {spatial}, merged = {batch};
  split.push_back(batch);
  for (int64_t i = 0; i < spatial; ++i) {
    split.push_back(shape[1 + i]);
    perm.push_back(spatial + 1 + i);
    perm.push_back(i);
    merged.push_back(shape[1 + i] * blocks.block[i]);
  }
  for (int64_t i = 1 + spatial; i < rank; ++i) {
    perm.push_back(static_cast<int64_t>(split.size()));
    split.push_back(shape[i]);
    merged.push_back(shape[i]);
  }
  x = c.builder().Reshape(c.builder().Transpose(c.builder().Reshape(x, split), perm), merged);
  std::vector<int64_t> starts, ends, axes;
  for (int64_t i = 0; i < spatial; ++i) {
    if (blocks.edges[2 * i] + blocks.edges[2 * i + 1] == 0) continue;
    starts.push_back(blocks.edges[2 * i]);
    ends.push_back(merged[1 + i] - blocks.edges[2 * i + 1]);
    axes.push_back(1 + i);
  }
  if (!axes.empty()) x = c.builder().Slice(x, starts, ends, axes);
  return c.Out(0, x, type);
}

}  // namespace

void RegisterTfliteOperators_image(OperatorRegistry& registry) {
  registry.Add(BuiltinOperator::RESIZE_BILINEAR, ResizeBilinear);
  registry.Add(BuiltinOperator::RESIZE_NEAREST_NEIGHBOR, ResizeNearest);
  registry.Add(BuiltinOperator::DEPTH_TO_SPACE, [](OperatorContext& c) {
    return DepthSpace(c, "DepthToSpace", c.Options<schema::DepthToSpaceOptions>().block_size());
  });
  registry.Add(BuiltinOperator::SPACE_TO_DEPTH, [](OperatorContext& c) {
    return DepthSpace(c, "SpaceToDepth", c.Options<schema::SpaceToDepthOptions>().block_size());
  });
  registry.Add(BuiltinOperator::SPACE_TO_BATCH_ND, SpaceToBatch);
  registry.Add(BuiltinOperator::BATCH_TO_SPACE_ND, BatchToSpace);
}

}  // namespace modelpress::tflite
