// Elements put at indices.
//
//   scatter, scatter_add, scatter_reduce -> ScatterElements with its reduction; a source that is larger than the index is
//     cut to it. Without include_self the places are first set to what does not count.
//   index_add, index_copy, index_fill    -> their axis first, ScatterND, and back
//   masked_scatter -> the n-th true place takes the n-th element: ScatterND at NonZero
//   fill, zero, copy -> Expand to the tensor's shape (they are mostly seen in place)
#include <limits>
#include <numeric>

#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {
namespace {

// `source` with the extents of `index`.
std::string CutToIndex(OperatorContext& c, const std::string& source, std::string_view name) {
  const TensorMeta &meta = c.Meta(name), &index = c.Meta("index");
  if (meta.sizes == index.sizes || meta.rank() == 0) return source;
  Ints axes(static_cast<size_t>(meta.rank())), zeros(axes.size(), 0);
  std::iota(axes.begin(), axes.end(), 0);
  return c.Add("Slice", {source, c.Ints64(zeros), c.ShapeOf("index"), c.Ints64(axes)});
}

std::string Reduction(OperatorContext& c) {
  if (c.name() == "scatter_add") return "add";
  const std::string reduce = c.Text("reduce", "");
  if (reduce.empty()) return "none";
  if (reduce == "add" || reduce == "sum" || reduce == "mean") return "add";
  if (reduce == "multiply" || reduce == "prod") return "mul";
  if (reduce == "amax") return "max";
  if (reduce == "amin") return "min";
  c.Refuse("its reduction is not known");
  return "none";
}

// Sums divided by how much meets at a place.
void ScatterMean(OperatorContext& c, const std::string& x, const std::string& index,
                 DataType type) {
  if (!IsFloating(c.Target().type)) return c.Refuse("it takes means of integers");
  const int64_t axis = c.Axis("dim", 0, c.Rank("self"));
  const std::string updates = CutToIndex(c, c.InAs("src", type), "src");
  const bool own = c.Bool("include_self", true);
  const Attributes add = {{"axis", axis}, {"reduction", std::string("add")}};
  const std::string ones = c.Expand(c.Number(type, 1), c.Meta("index"));
  std::string start = x;
  if (!own) {
    start = c.Add("ScatterElements", {x, index, c.Expand(c.Number(type, 0), c.Meta("index"))},
                  {{"axis", axis}});
  }
  const std::string sums = c.Add("ScatterElements", {start, index, updates}, add);
  const std::string before = c.Expand(c.Number(type, own ? 1 : 0), c.Meta("self"));
  std::string counts = c.Add("ScatterElements", {before, index, ones}, add);
  if (!own) counts = c.Add("Max", {counts, c.Number(type, 1)});
  c.Out(c.Add("Div", {sums, counts}), type);
}

void Scatter(OperatorContext& c) {
  const int rank = c.Rank("self");
  const std::string reduction = Reduction(c);
  const DataType type = reduction == "none" ? c.OutType() : ComputeType(c.Target().type);
  const std::string index = c.InAs("index", DataType::kInt64);
  std::string x = c.InAs("self", type), updates;
  if (rank == 0) return c.Refuse("its input has no axes");
  if (c.Text("reduce", "") == "mean") return ScatterMean(c, x, index, type);
  if (c.Has("value")) {
    updates = c.Expand(c.InAs("value", type), c.Meta("index"));
  } else {
    updates = CutToIndex(c, c.InAs("src", type), "src");
  }
  const int64_t axis = c.Axis("dim", 0, rank);
  if (!c.Bool("include_self", true)) {
    const double largest = std::numeric_limits<double>::infinity();
    if ((reduction == "max" || reduction == "min") && !IsFloating(c.Target().type)) {
      return c.Refuse("it leaves out integers that were there before");
    }
    const double neutral = reduction == "mul"   ? 1
                           : reduction == "max" ? -largest
                           : reduction == "min" ? largest
                                                : 0;
    x = c.Add("ScatterElements", {x, index, c.Expand(c.Number(type, neutral), c.Meta("index"))},
              {{"axis", axis}});
  }
  Attributes attributes = {{"axis", axis}};
  if (reduction != "none") attributes.push_back({"reduction", reduction});
  c.Out(c.Add("ScatterElements", {x, index, updates}, std::move(attributes)), type);
}

// Axis `axis` first.
Ints First(int64_t axis, int rank) {
  Ints perm = {axis};
  for (int64_t i = 0; i < rank; ++i) {
    if (i != axis) perm.push_back(i);
  }
  return perm;
}

Ints Inverse(const Ints& perm) {
  Ints inverse(perm.size());
  for (size_t i = 0; i < perm.size(); ++i)
    inverse[static_cast<size_t>(perm[i])] = static_cast<int64_t>(i);
  return inverse;
}

void AlongAxis(OperatorContext& c) {
  const std::string_view name = c.name();
  const int rank = c.Rank("self");
  const bool add = name == "index_add";
  const DataType type = add ? ComputeType(c.Target().type) : c.OutType();
  if (rank == 0) return c.Refuse("its input has no axes");
  const Ints perm = First(c.Axis("dim", 0, rank), rank);
  const std::string x = c.builder().Transpose(c.InAs("self", type), perm);
  std::string index = c.InAs("index", DataType::kInt64);
  if (c.Rank("index") == 0) index = c.Reshape(index, Ints{1});
  std::string updates;
  if (name == "index_fill") {
    TensorMeta rows{.type = c.Target().type};
    for (const int64_t i : perm) rows.sizes.push_back(c.Meta("self").sizes[static_cast<size_t>(i)]);
    rows.sizes[0] = c.Rank("index") == 0 ? pt2::Extent{.value = 1} : c.Meta("index").sizes[0];
    updates = c.Expand(c.InAs("value", type), rows);
  } else {
    updates = c.InAs("source", type);
    if (c.Rank("source") == 0) return c.Refuse("its source has no axes");
    updates = c.builder().Transpose(updates, perm);
    if (c.Has("alpha") && c.Float("alpha", 1) != 1)
      updates = c.Add("Mul", {updates, c.InAs("alpha", type)});
  }
  Attributes attributes;
  if (add) attributes.push_back({"reduction", std::string("add")});
  const std::string y =
      c.Add("ScatterND", {x, c.Unsqueeze(index, {-1}), updates}, std::move(attributes));
  c.Out(c.builder().Transpose(y, Inverse(perm)), type);
}

void MaskedScatter(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  std::string x = c.InAs("self", type);
  std::string mask = c.InAs("mask", DataType::kBool);
  const std::string source = c.Reshape(c.InAs("source", type), Ints{-1});
  if (c.Target().rank() == 0) {
    const std::string first = c.Reshape(c.Slice(source, 0, 0, 1), Ints{});
    return c.Out(c.Add("Where", {mask, first, x}), type);
  }
  if (c.Meta("mask").sizes != c.Target().sizes) mask = c.Expand(mask, c.Target());
  if (c.Meta("self").sizes != c.Target().sizes) x = c.Expand(x, c.Target());
  const std::string places = c.Add("NonZero", {mask});  // [axes, places]
  const std::string count = c.Add("Shape", {places}, {{"start", int64_t{1}}});
  const std::string taken = c.Add("Slice", {source, c.Ints64({0}), count, c.Ints64({0})});
  c.Out(c.Add("ScatterND", {x, c.builder().Transpose(places, {1, 0}), taken}), type);
}

void Fill(OperatorContext& c) {
  const DataType type = c.OutType();
  std::string value = c.name() == "zero" ? c.Number(type, 0) : c.InAs("value", type);
  if (c.IsTensor("value") && c.Rank("value") == 1) value = c.Reshape(value, Ints{});
  c.Out(c.Expand(value, c.Target()));
}

// Places count through the whole tensor.
void Put(OperatorContext& c) {
  const bool add = c.Bool("accumulate", false);
  const DataType type = add ? ComputeType(c.Target().type) : c.OutType();
  const std::string x = c.InAs("self", type), flat = c.Reshape(x, Ints{-1});
  const std::string index = c.Reshape(c.InAs("index", DataType::kInt64), Ints{-1});
  const std::string source = c.Reshape(c.InAs("source", type), Ints{-1});
  const std::string y =
      c.Add("ScatterElements", {flat, index, source},
            {{"axis", int64_t{0}}, {"reduction", add ? std::string("add") : std::string("none")}});
  c.Out(c.Add("Reshape", {y, c.ShapeOf(c.Target(), x)}), type);
}

// Each element to where max_pool2d took it from; indices count through a plane.
void MaxUnpool(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const int rank = c.Rank("self");
  const TensorMeta& target = c.Target();
  if (rank != 3 && rank != 4) return c.Malformed("its input is neither an image nor a batch");
  if (!target.is_static() || target.rank() != rank)
    return c.Refuse("its size is not known before the model runs", "give --input-shape");
  const Ints dims = target.dims();
  Ints planes(dims.begin(), dims.end() - 2), flat = planes;
  flat.push_back(-1);
  int64_t plane = 0;
  if (__builtin_mul_overflow(dims[dims.size() - 2], dims[dims.size() - 1], &plane))
    return c.Malformed("its size is absurd");
  planes.push_back(plane);
  const std::string zeros = c.Add("Expand", {c.Number(type, 0), c.Ints64(planes)});
  const std::string y = c.Add("ScatterElements",
                              {zeros, c.Reshape(c.InAs("indices", DataType::kInt64), flat),
                               c.Reshape(c.InAs("self", type), flat)},
                              {{"axis", int64_t{rank - 2}}});
  c.Out(c.Reshape(y, dims), type);
}

void Copy(OperatorContext& c) {
  const std::string value = c.InAs("src", c.OutType());
  c.Out(c.Meta("src").sizes == c.Target().sizes ? value : c.Expand(value, c.Target()));
}

}  // namespace

void RegisterPt2Operators_scatter(OperatorRegistry& registry) {
  registry.Add({"aten.scatter", "aten.scatter_add", "aten.scatter_reduce"}, Scatter);
  registry.Add({"aten.index_add", "aten.index_copy", "aten.index_fill"}, AlongAxis);
  registry.Add("aten.masked_scatter", MaskedScatter);
  registry.Add({"aten.fill", "aten.zero"}, Fill);
  registry.Add("aten.copy", Copy);
  registry.Add("aten.put", Put);
  registry.Add("aten.max_unpool2d", MaxUnpool);
}

}  // namespace modelpress::pt2
