// Diagonals, and elements at places that strides give.
//
//   diagonal -> Gather of the two axes as one     diag_embed -> Where(on the diagonal, x, 0)     diag -> either
//   as_strided -> Gather of the elements' places, of tensors whose elements are in order
//   what is written through them, diagonal_scatter, as_strided_scatter, fill_diagonal -> ScatterND at those places
#include <algorithm>
#include <limits>

#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {
namespace {

// Of offsets and strides.
constexpr int64_t kMost = 1 << 24;

// The axes other than two, then those.
Ints TwoLast(int rank, int64_t a, int64_t b) {
  Ints perm;
  for (int64_t i = 0; i < rank; ++i) {
    if (i != a && i != b) perm.push_back(i);
  }
  perm.push_back(a);
  perm.push_back(b);
  return perm;
}

void DiagonalOf(OperatorContext& c, int64_t offset, int64_t a, int64_t b) {
  const int rank = c.Rank("self");
  if (a == b) return c.Malformed("its two axes are one");
  if (offset > kMost || offset < -kMost) return c.Malformed("its offset is absurd");
  const int64_t rows = c.Extent("self", a), columns = c.Extent("self", b);
  if (rows < 0 || columns < 0)
    return c.Refuse("the extents of its axes are not known before the model runs");
  if (!c.Affordable(static_cast<double>(rows) + static_cast<double>(columns))) return;
  std::string x = c.builder().Transpose(c.In("self"), TwoLast(rank, a, b));
  Ints dims(static_cast<size_t>(rank - 2), 0), indices;
  dims.push_back(rows * columns);
  x = c.builder().Reshape(x, dims, /*copy_zeros=*/true);
  for (int64_t i = std::max<int64_t>(0, -offset); i < rows && i + offset < columns; ++i) {
    indices.push_back(i * columns + i + offset);
  }
  c.Out(c.Add("Gather", {x, c.Ints64(indices)}, {{"axis", int64_t{-1}}}));
}

// Where the elements of a part of a contiguous tensor lie in it, counted through the tensor; false where that is refused.
bool StridedPlaces(OperatorContext& c, Ints* places) {
  const TensorMeta& meta = c.Meta("self");
  if (!meta.is_static()) {
    c.Refuse("its extents are not known before the model runs", "give --input-shape");
    return false;
  }
  const Ints dims = meta.dims(), size = c.IntList("size"), stride = c.IntList("stride");
  const absl::StatusOr<uint64_t> all = ElementCount(dims);
  if (!all.ok() || *all > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return false;
  const int64_t count = static_cast<int64_t>(*all);
  int64_t dense = 1, wanted = 1;
  for (size_t i = dims.size(); i-- > 0 && count > 0;) {
    const bool given = meta.strides.size() == dims.size();
    if (given && dims[i] > 1 && meta.strides[i] != dense) {
      c.Refuse("it takes a tensor whose elements are not in order", "call contiguous() before it");
      return false;
    }
    dense *= dims[i];
  }
  double elements = 1;
  for (const int64_t extent : size) elements *= static_cast<double>(std::max<int64_t>(extent, 0));
  if (size.size() != stride.size() || !c.Affordable(elements)) return false;
  for (const int64_t extent : size) wanted *= extent;
  // Counted from the storage's beginning; left out, the tensor's own.
  const int64_t offset =
      c.Has("storage_offset") ? c.Int("storage_offset", 0) - meta.storage_offset : 0;
  constexpr int64_t kFarthest = int64_t{1} << 42;
  if (offset > kFarthest || offset < -kFarthest) return false;
  places->assign(1, offset);
  for (size_t i = 0; i < size.size(); ++i) {
    if (stride[i] > kMost || stride[i] < -kMost) return false;
    Ints next;
    for (const int64_t place : *places) {
      for (int64_t j = 0; j < size[i]; ++j) next.push_back(place + j * stride[i]);
    }
    *places = std::move(next);
  }
  for (const int64_t place : *places) {
    if (place < 0 || place >= count) {
      c.Malformed("it takes elements that do not exist");
      return false;
    }
  }
  return static_cast<int64_t>(places->size()) == wanted;
}

std::string PlacesValue(OperatorContext& c, const Ints& places, Ints dims) {
  return c.model().Constant(DataType::kInt64, dims, std::as_bytes(std::span(places)));
}

void AsStrided(OperatorContext& c) {
  Ints places;
  if (!StridedPlaces(c, &places)) return c.Refuse("its places are not known");
  const std::string flat = c.Reshape(c.In("self"), Ints{-1});
  c.Out(c.Add("Gather", {flat, PlacesValue(c, places, c.IntList("size"))}, {{"axis", int64_t{0}}}));
}

// `parent`, of the shape of "self", with the elements at `places` replaced by those of `child`.
std::string PutAt(OperatorContext& c, const std::string& parent, const std::string& child,
                  const Ints& places) {
  const int64_t count = static_cast<int64_t>(places.size());
  const std::string flat = c.Reshape(parent, Ints{-1});
  const std::string y =
      c.Add("ScatterND", {flat, PlacesValue(c, places, {count, 1}), c.Reshape(child, Ints{-1})});
  return c.Reshape(y, c.Meta("self").dims());
}

std::string AsStridedBack(OperatorContext& c, const std::string& parent, const std::string& child,
                          int) {
  Ints places;
  if (!StridedPlaces(c, &places)) {
    c.Refuse("its places are not known");
    return "";
  }
  return PutAt(c, parent, child, places);
}

void AsStridedScatter(OperatorContext& c) {
  c.Out(AsStridedBack(c, c.In("self"), c.InAs("src", c.OutType()), 0));
}

// Places of a diagonal of axes a and b in the order in which `diagonal` gives them.
bool DiagonalPlaces(OperatorContext& c, int64_t offset, int64_t a, int64_t b, Ints* places) {
  const TensorMeta& meta = c.Meta("self");
  if (!meta.is_static() || a == b || offset > kMost || offset < -kMost) {
    c.Refuse("its extents are not known before the model runs", "give --input-shape");
    return false;
  }
  const Ints dims = meta.dims();
  double elements = 1;
  for (const int64_t extent : dims) elements *= static_cast<double>(std::max<int64_t>(extent, 1));
  if (!c.Affordable(elements)) return false;
  Ints strides(dims.size(), 1);
  for (size_t i = dims.size(); i-- > 1;) strides[i - 1] = strides[i] * dims[i];
  places->assign(1, 0);
  const auto spread = [&](int64_t count, int64_t stride, int64_t begin) {
    Ints next;
    for (const int64_t place : *places) {
      for (int64_t i = 0; i < count; ++i) next.push_back(place + begin + i * stride);
    }
    *places = std::move(next);
  };
  for (int64_t i = 0; i < static_cast<int64_t>(dims.size()); ++i) {
    if (i != a && i != b) spread(dims[static_cast<size_t>(i)], strides[static_cast<size_t>(i)], 0);
  }
  const int64_t row = std::max<int64_t>(0, -offset), column = std::max<int64_t>(0, offset);
  const int64_t length =
      std::min(dims[static_cast<size_t>(a)] - row, dims[static_cast<size_t>(b)] - column);
  const int64_t over = strides[static_cast<size_t>(a)], along = strides[static_cast<size_t>(b)];
  spread(std::max<int64_t>(length, 0), over + along, row * over + column * along);
  return true;
}

std::string DiagonalBack(OperatorContext& c, const std::string& parent, const std::string& child,
                         int) {
  const int rank = c.Rank("self");
  Ints places;
  if (rank < 2 || !DiagonalPlaces(c, c.Int("offset", 0), c.Axis("dim1", 0, rank),
                                  c.Axis("dim2", 1, rank), &places)) {
    c.Refuse("its places are not known");
    return "";
  }
  return PutAt(c, parent, child, places);
}

void DiagonalScatter(OperatorContext& c) {
  c.Out(DiagonalBack(c, c.In("self"), c.InAs("src", c.OutType()), 0));
}

void FillDiagonal(OperatorContext& c) {
  Ints places;
  if (c.Rank("self") != 2 || c.Bool("wrap", false))
    return c.Refuse("it fills other than the diagonal of a matrix");
  if (!DiagonalPlaces(c, 0, 0, 1, &places)) return;
  const std::string values = c.Add("Expand", {c.InAs("fill_value", c.OutType()),
                                              c.Ints64({static_cast<int64_t>(places.size())})});
  c.Out(PutAt(c, c.In("self"), values, places));
}

// x on a diagonal of the last two axes of the result, which are then put to their places.
void DiagonalMatrix(OperatorContext& c, int64_t offset, int64_t a, int64_t b) {
  const int rank = c.Rank("self");
  const int64_t extent = c.Extent("self", rank - 1);
  if (extent < 0) return c.Refuse("the extent of its last axis is not known before the model runs");
  const int64_t size = extent + std::abs(offset);
  if (!c.Affordable(static_cast<double>(size) * static_cast<double>(size))) return;
  Ints source;
  std::vector<uint8_t> mask(static_cast<size_t>(size * size), 0);
  for (int64_t i = 0; i < size; ++i) {
    source.push_back(std::clamp<int64_t>(i, 0, std::max<int64_t>(extent - 1, 0)));
    if (i + offset >= 0 && i + offset < size) mask[static_cast<size_t>(i * size + i + offset)] = 1;
  }
  const DataType type = ComputeType(c.Target().type);
  if (extent == 0) return c.Out(c.Expand(c.Number(type, 0), c.Target()), type);
  const std::string rows =
      c.Add("Gather", {c.InAs("self", type), c.Ints64(source)}, {{"axis", int64_t{-1}}});
  // An upper diagonal takes element i in row i, a lower one in column i.
  const std::string spread = c.Unsqueeze(rows, {offset >= 0 ? int64_t{-1} : int64_t{-2}});
  const std::string where =
      c.model().Constant(DataType::kBool, Ints{size, size}, std::as_bytes(std::span(mask)));
  const std::string y = c.Add("Where", {where, spread, c.Number(type, 0)});
  const Ints perm = TwoLast(rank + 1, a, b);
  Ints inverse(perm.size());
  for (size_t i = 0; i < perm.size(); ++i)
    inverse[static_cast<size_t>(perm[i])] = static_cast<int64_t>(i);
  c.Out(c.builder().Transpose(y, inverse), type);
}

void Diagonal(OperatorContext& c) {
  const int rank = c.Rank("self");
  if (rank < 2) return c.Malformed("its input has less than two axes");
  DiagonalOf(c, c.Int("offset", 0), c.Axis("dim1", 0, rank), c.Axis("dim2", 1, rank));
}

void DiagEmbed(OperatorContext& c) {
  const int rank = c.Rank("self");
  if (rank < 1) return c.Malformed("its input has no axes");
  const int64_t offset = c.Int("offset", 0), a = c.Axis("dim1", -2, rank + 1),
                b = c.Axis("dim2", -1, rank + 1);
  if (a == b) return c.Malformed("its two axes are one");
  if (offset > kMost || offset < -kMost) return c.Malformed("its offset is absurd");
  DiagonalMatrix(c, offset, a, b);
}

void Diag(OperatorContext& c) {
  const int64_t offset = c.Int("diagonal", 0);
  if (offset > kMost || offset < -kMost) return c.Malformed("its offset is absurd");
  if (c.Rank("self") == 1) return DiagonalMatrix(c, offset, 0, 1);
  if (c.Rank("self") != 2) return c.Malformed("its input is neither a vector nor a matrix");
  DiagonalOf(c, offset, 0, 1);
}

}  // namespace

void RegisterPt2Operators_diagonal(OperatorRegistry& registry) {
  registry.AddView({"aten.diagonal", "aten.diagonal_copy"}, Diagonal, DiagonalBack);
  registry.Add("aten.diagonal_scatter", DiagonalScatter);
  registry.Add("aten.fill_diagonal", FillDiagonal);
  registry.AddView({"aten.as_strided"}, AsStrided, AsStridedBack);
  registry.Add({"aten.as_strided_copy"}, AsStrided);
  registry.Add("aten.as_strided_scatter", AsStridedScatter);
  registry.Add({"aten.diag_embed"}, DiagEmbed);
  registry.Add("aten.diag", Diag);
}

}  // namespace modelpress::pt2
