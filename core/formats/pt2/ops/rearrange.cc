// Elements in other places of the same tensor.
//
//   flip -> Slice backwards      roll -> Slice twice, Concat      rot90 -> Transpose and flip
//   tril, triu -> Trilu
//   unfold -> Gather of the windows' indices      pixel_shuffle, pixel_unshuffle, channel_shuffle -> Reshape, Transpose
#include <algorithm>
#include <limits>
#include <numeric>

#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {
namespace {

constexpr int64_t kEnd = std::numeric_limits<int64_t>::max();
// Of offsets and shifts.
constexpr int64_t kMost = 1 << 24;

std::string Flipped(OperatorContext& c, const std::string& x, const Ints& axes) {
  if (axes.empty()) return x;
  const Ints last(axes.size(), -1), first(axes.size(), std::numeric_limits<int64_t>::min() + 1);
  return c.builder().Slice(x, last, first, axes, last);
}

void Flip(OperatorContext& c) {
  const Ints given = c.IntList("dims");
  c.Out(given.empty() && c.Has("dims") ? c.In("self")
                                       : Flipped(c, c.In("self"), c.Axes("dims", c.Rank("self"))));
}

void FlipSides(OperatorContext& c) {
  const int64_t axis = c.name() == "fliplr" ? 1 : 0;
  c.Out(Flipped(c, c.In("self"), {axis}));
}

std::string Rolled(OperatorContext& c, const std::string& x, int64_t axis, int64_t shift,
                   int64_t extent) {
  if (extent > 0) shift = ((shift % extent) + extent) % extent;
  if (shift == 0 || extent == 0) return x;
  // The last `shift` elements come first; a negative shift counts from the front.
  return c.Concat({c.Slice(x, axis, -shift, kEnd), c.Slice(x, axis, 0, -shift)}, axis);
}

void Roll(OperatorContext& c) {
  std::string x = c.In("self");
  const Ints shifts = c.IntList("shifts"), dims = c.IntList("dims");
  for (const int64_t shift : shifts) {
    if (shift > kMost || shift < -kMost) return c.Malformed("its shift is absurd");
  }
  const int rank = c.Rank("self");
  const TensorMeta& meta = c.Meta("self");
  if (dims.empty()) {
    if (shifts.size() != 1 || !meta.is_static())
      return c.Refuse("it rolls a flat tensor of unknown size");
    int64_t count = 1;
    for (const int64_t extent : meta.dims()) count *= extent;
    x = Rolled(c, c.Reshape(x, Ints{-1}), 0, shifts[0], count);
    return c.Out(c.Reshape(x, meta.dims()));
  }
  if (dims.size() != shifts.size()) return c.Malformed("it has other shifts than axes");
  for (size_t i = 0; i < dims.size(); ++i) {
    const int64_t axis = dims[i] < 0 ? dims[i] + rank : dims[i];
    if (axis < 0 || axis >= rank) return c.Malformed("an axis does not exist");
    x = Rolled(c, x, axis, shifts[i], c.Extent("self", axis));
  }
  c.Out(x);
}

// The middle to the front, or back.
void FourierShift(OperatorContext& c) {
  std::string x = c.In("self");
  const int rank = c.Rank("self");
  for (const int64_t axis : c.Axes("dim", rank)) {
    const int64_t extent = c.Extent("self", axis);
    if (extent < 0)
      return c.Refuse("its extents are not known before the model runs", "give --input-shape");
    x = Rolled(c, x, axis, c.name() == "fft_fftshift" ? extent / 2 : (extent + 1) / 2, extent);
  }
  c.Out(x);
}

void Rotate(OperatorContext& c) {
  Ints dims = c.Has("dims") ? c.IntList("dims") : Ints{0, 1};
  const int rank = c.Rank("self");
  for (int64_t& axis : dims) axis = axis < 0 ? axis + rank : axis;
  if (dims.size() != 2 || dims[0] == dims[1] || dims[0] < 0 || dims[1] < 0 || dims[0] >= rank ||
      dims[1] >= rank) {
    return c.Malformed("its axes are not two of the tensor");
  }
  const int64_t turns = ((c.Int("k", 1) % 4) + 4) % 4;
  std::string x = c.In("self");
  Ints perm(static_cast<size_t>(rank));
  std::iota(perm.begin(), perm.end(), 0);
  std::swap(perm[static_cast<size_t>(dims[0])], perm[static_cast<size_t>(dims[1])]);
  if (turns == 1) x = c.builder().Transpose(Flipped(c, x, {dims[1]}), perm);
  if (turns == 2) x = Flipped(c, x, dims);
  if (turns == 3) x = c.builder().Transpose(Flipped(c, x, {dims[0]}), perm);
  c.Out(x);
}

void Triangle(OperatorContext& c) {
  const DataType own = c.OutType();
  const DataType type =
      own == DataType::kFloat || own == DataType::kDouble || own == DataType::kInt64 ? own
      : IsFloating(c.Target().type) ? DataType::kFloat
                                    : DataType::kInt64;
  Names inputs = {c.InAs("self", type)};
  if (const int64_t diagonal = c.Int("diagonal", 0); diagonal != 0)
    inputs.push_back(c.model().Int64(diagonal));
  c.Out(c.Add("Trilu", std::move(inputs), {{"upper", int64_t{c.name() == "triu"}}}), type);
}

void Unfold(OperatorContext& c) {
  const int rank = c.Rank("self");
  const int64_t axis = c.Axis("dimension", 0, rank), size = c.Int("size", 1),
                step = c.Int("step", 1);
  const int64_t extent = rank == 0 ? 1 : c.Extent("self", axis);
  if (extent < 0)
    return c.Refuse("the extent of its axis is not known before the model runs",
                    "give --input-shape");
  if (size < 0 || step < 1 || size > extent) return c.Malformed("its windows do not fit");
  std::string x = c.In("self");
  if (rank == 0) x = c.Reshape(x, Ints{1});
  const int64_t count = (extent - size) / step + 1;
  if (!c.Affordable(static_cast<double>(count) * static_cast<double>(size))) return;
  Ints indices;
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t j = 0; j < size; ++j) indices.push_back(i * step + j);
  }
  const std::string table =
      c.model().Constant(DataType::kInt64, Ints{count, size}, std::as_bytes(std::span(indices)));
  x = c.Add("Gather", {x, table}, {{"axis", axis}});
  if (rank == 0) return c.Out(c.Reshape(x, c.Target().dims()));
  Ints perm;
  for (int64_t i = 0; i <= rank; ++i) {
    if (i != axis + 1) perm.push_back(i);
  }
  perm.push_back(axis + 1);
  c.Out(c.builder().Transpose(x, perm));
}

// [..., C, H, W]: axes split in two, put in another order and joined. Extents that are not known stay open, one at most.
void Shuffled(OperatorContext& c) {
  const std::string_view name = c.name();
  const int rank = c.Rank("self");
  const TensorMeta& meta = c.Meta("self");
  if (rank < 3) return c.Malformed("it needs channels and two axes");
  const size_t lead = static_cast<size_t>(rank - 3);
  const int64_t channels = c.Extent("self", rank - 3), height = c.Extent("self", rank - 2),
                width = c.Extent("self", rank - 1);
  const int64_t factor = c.Int(name == "pixel_shuffle"     ? "upscale_factor"
                               : name == "pixel_unshuffle" ? "downscale_factor"
                                                           : "groups",
                               1);
  if (factor < 1 || factor > 65536 || channels < 0)
    return c.Refuse("its channels or factor are not known");
  if (name == "pixel_shuffle" && rank == 4) {
    return c.Out(c.Add("DepthToSpace", {c.In("self")},
                       {{"blocksize", factor}, {"mode", std::string("CRD")}}));
  }
  if (!meta.is_static())
    return c.Refuse("its extents are not known before the model runs", "give --input-shape");
  Ints first, perm;
  for (size_t i = 0; i < lead; ++i) {
    first.push_back(*meta.sizes[i].value);
    perm.push_back(static_cast<int64_t>(i));
  }
  const int64_t at = static_cast<int64_t>(lead);
  const auto add = [&](Ints dims, Ints order) {
    first.insert(first.end(), dims.begin(), dims.end());
    for (const int64_t axis : order) perm.push_back(at + axis);
  };
  if (name == "pixel_shuffle") {
    add({channels / (factor * factor), factor, factor, height, width}, {0, 3, 1, 4, 2});
  } else if (name == "pixel_unshuffle") {
    add({channels, height / factor, factor, width / factor, factor}, {0, 2, 4, 1, 3});
  } else {
    add({factor, channels / factor, height, width}, {1, 0, 2, 3});
  }
  const std::string x = c.builder().Transpose(c.Reshape(c.In("self"), first), perm);
  c.Out(c.Reshape(x, c.Target().dims()));
}

}  // namespace

void RegisterPt2Operators_rearrange(OperatorRegistry& registry) {
  registry.Add("aten.flip", Flip);
  registry.Add({"aten.fliplr", "aten.flipud"}, FlipSides);
  registry.Add("aten.roll", Roll);
  registry.Add("aten.rot90", Rotate);
  registry.Add({"aten.fft_fftshift", "aten.fft_ifftshift"}, FourierShift);
  registry.Add({"aten.tril", "aten.triu"}, Triangle);
  registry.AddView({"aten.unfold", "aten.unfold_copy"}, Unfold, nullptr);
  registry.Add({"aten.pixel_shuffle", "aten.pixel_unshuffle", "aten.channel_shuffle"}, Shuffled);
}

}  // namespace modelpress::pt2
