// Elements picked by index, and indices found.
//
//   index_select, embedding -> Gather      gather, take_along_dim -> GatherElements      take -> Gather of the flat tensor
//   embedding_bag -> Gather, then sums by bag (ScatterND) and, for means, their division by the sizes of the bags
//   nonzero -> Transpose(NonZero)          masked_select -> Compress
//   one_hot -> comparison with 0 .. n-1    bucketize, searchsorted -> how many boundaries lie below
#include <limits>
#include <numeric>

#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {
namespace {

std::string Indices(OperatorContext& c, std::string_view name) {
  return c.InAs(name, DataType::kInt64);
}

void IndexSelect(OperatorContext& c) {
  std::string x = c.In("self"), index = Indices(c, "index");
  const int rank = c.Rank("self");
  if (c.Rank("index") == 0) index = c.Reshape(index, Ints{1});
  if (rank == 0) return c.Out(x);
  c.Out(c.Add("Gather", {x, index}, {{"axis", c.Axis("dim", 0, rank)}}));
}

void Gather(OperatorContext& c) {
  const int rank = c.Rank("self");
  const std::string x = c.In("self"), index = Indices(c, "index");
  if (rank == 0) return c.Out(c.Rank("index") == 0 ? x : c.Expand(x, c.Target()));
  if (c.Rank("index") == 0) {
    const std::string one =
        c.Add("GatherElements", {x, c.Reshape(index, Ints{1})}, {{"axis", int64_t{0}}});
    return c.Out(c.Reshape(one, Ints{}));
  }
  c.Out(c.Add("GatherElements", {x, index}, {{"axis", c.Axis("dim", 0, rank)}}));
}

void TakeAlong(OperatorContext& c) {
  std::string x = c.In("self"), index = Indices(c, "indices");
  if (!c.Has("dim")) {
    x = c.Reshape(x, Ints{-1});
    return c.Out(c.Add("GatherElements", {x, c.Reshape(index, Ints{-1})}, {{"axis", int64_t{0}}}));
  }
  const int rank = c.Rank("self");
  const int64_t axis = c.Axis("dim", 0, rank);
  const TensorMeta &from = c.Meta("self"), &by = c.Meta("indices");
  if (rank == 0 || by.rank() != rank) return c.Refuse("its tensors have different numbers of axes");
  // Both are broadcast to each other, apart from the axis.
  TensorMeta whole = c.Target();
  if (by.sizes != whole.sizes) index = c.Expand(index, whole);
  whole.sizes[static_cast<size_t>(axis)] = from.sizes[static_cast<size_t>(axis)];
  if (from.sizes != whole.sizes) x = c.Expand(x, whole);
  c.Out(c.Add("GatherElements", {x, index}, {{"axis", axis}}));
}

void Take(OperatorContext& c) {
  const std::string x = c.Reshape(c.In("self"), Ints{-1});
  c.Out(c.Add("Gather", {x, Indices(c, "index")}, {{"axis", int64_t{0}}}));
}

void Embedding(OperatorContext& c) {
  c.Out(c.Add("Gather", {c.In("weight"), Indices(c, "indices")}, {{"axis", int64_t{0}}}));
}

void EmbeddingBag(OperatorContext& c) {
  const int64_t mode = c.Int("mode", 0);
  if (mode < 0 || mode > 2) return c.Malformed("its mode is not known");
  if (c.Rank("indices") != 1) return c.Refuse("its indices have more than one axis");
  const DataType type = ComputeType(c.Target().type);
  const std::string indices = Indices(c, "indices");
  std::string offsets = Indices(c, "offsets");
  if (c.Bool("include_last_offset", false)) offsets = c.Slice(offsets, 0, 0, -1);
  std::string rows = c.Add("Gather", {c.InAs("weight", type), indices}, {{"axis", int64_t{0}}});
  // The bag of each index: how many bags begin at or before it, less one.
  const std::string count = c.Reshape(c.Add("Shape", {indices}), Ints{});
  const std::string place = c.Add("Range", {c.model().Int64(0), count, c.model().Int64(1)});
  const std::string begun =
      c.Add("LessOrEqual", {c.Unsqueeze(offsets, {0}), c.Unsqueeze(place, {1})});
  const std::string bags =
      c.Add("ReduceSum", {c.Cast(begun, DataType::kBool, DataType::kInt64), c.Ints64({1})},
            {{"keepdims", int64_t{1}}});
  const std::string bag = c.Add("Sub", {bags, c.model().Int64(1)});
  std::string weight = c.Add("Expand", {c.Number(type, 1), c.Add("Shape", {indices})});
  if (c.Has("padding_idx") && c.Int("padding_idx", -1) >= 0) {
    const std::string padding = c.Add("Equal", {indices, c.InAs("padding_idx", DataType::kInt64)});
    weight = c.Add("Where", {padding, c.Number(type, 0), weight});
  }
  const std::string column = c.Unsqueeze(weight, {1});
  const std::string factor =
      c.Has("per_sample_weights")
          ? c.Add("Mul", {column, c.Unsqueeze(c.InAs("per_sample_weights", type), {1})})
          : column;
  rows = c.Add("Mul", {rows, factor});
  const std::string bag_count = c.Add("Shape", {offsets});
  const std::string width = c.Add("Shape", {rows}, {{"start", int64_t{1}}});
  const std::string zeros = c.Add("Expand", {c.Number(type, 0), c.Concat({bag_count, width}, 0)});
  const Attributes add = {{"reduction", std::string("add")}};
  if (mode == 2) {
    const std::string nothing = c.Number(type, -std::numeric_limits<double>::infinity());
    const std::string counted =
        c.Add("Where", {c.Add("Greater", {column, c.Number(type, 0)}), rows, nothing});
    const std::string none = c.Add("Expand", {nothing, c.Concat({bag_count, width}, 0)});
    const std::string largest =
        c.Add("ScatterND", {none, bag, counted}, {{"reduction", std::string("max")}});
    const std::string empty = c.Add("Equal", {largest, nothing});
    c.Out(c.Add("Where", {empty, c.Number(type, 0), largest}), type);
    for (int o = 1; o < c.output_count(); ++o) {
      if (c.Wants(o)) return c.Refuse("more of its results is read than the bags");
    }
    return;
  }
  std::string sums = c.Add("ScatterND", {zeros, bag, rows}, add);
  if (mode == 1) {
    const std::string none = c.Add("Expand", {c.Number(type, 0), bag_count});
    const std::string sizes =
        c.Add("Max", {c.Add("ScatterND", {none, bag, weight}, add), c.Number(type, 1)});
    sums = c.Add("Div", {sums, c.Unsqueeze(sizes, {1})});
  }
  c.Out(sums, type);
  for (int o = 1; o < c.output_count(); ++o) {
    if (c.Wants(o)) return c.Refuse("more of its results is read than the bags");
  }
}

void OneHot(OperatorContext& c) {
  if (ToOnnxType(c.Meta("self").type) != DataType::kInt64)
    return c.Malformed("its input is not int64");
  const std::string x = c.Unsqueeze(Indices(c, "self"), {-1});
  const int64_t classes = c.Int("num_classes", -1);
  constexpr int64_t kMostConstant = 4096;
  if (classes >= 0 && classes <= kMostConstant) {
    Ints all(static_cast<size_t>(classes));
    std::iota(all.begin(), all.end(), 0);
    return c.Out(c.Add("Equal", {x, c.Ints64(all)}), DataType::kBool);
  }
  std::string count = c.model().Int64(classes);
  if (classes < 0) {
    const std::string largest = c.Add("ReduceMax", {c.In("self")}, {{"keepdims", int64_t{0}}});
    count = c.Add("Add", {largest, c.model().Int64(1)});
  }
  const std::string range = c.Add("Range", {c.model().Int64(0), count, c.model().Int64(1)});
  c.Out(c.Add("Equal", {x, range}), DataType::kBool);
}

void NonZero(OperatorContext& c) {
  if (c.Rank("self") == 0) return c.Refuse("its input has no axes");
  c.Out(c.builder().Transpose(c.Add("NonZero", {c.InAs("self", DataType::kBool)}), {1, 0}),
        DataType::kInt64);
}

void MaskedSelect(OperatorContext& c) {
  std::string x = c.In("self"), mask = c.InAs("mask", DataType::kBool);
  if (c.Meta("self").sizes != c.Meta("mask").sizes) {
    // Broadcast to each other.
    const std::string ones = c.Add("Expand", {c.model().Int64(0), c.ShapeOf("self")});
    const std::string others = c.Add("Expand", {c.model().Int64(0), c.ShapeOf("mask")});
    const std::string shape = c.Add("Shape", {c.Add("Add", {ones, others})});
    x = c.Add("Expand", {x, shape});
    mask = c.Add("Expand", {mask, shape});
  }
  c.Out(c.Add("Compress", {c.Reshape(x, Ints{-1}), c.Reshape(mask, Ints{-1})},
              {{"axis", int64_t{0}}}));
}

// How many boundaries lie below each value (or at it, with `right`).
void Search(OperatorContext& c) {
  const bool sorted = c.name() == "searchsorted";
  const std::string_view boundaries = sorted ? "sorted_sequence" : "boundaries";
  if (c.Has("sorter")) return c.Refuse("its sequence is sorted by another tensor");
  const bool right = c.Text("side", c.Bool("right", false) ? "right" : "left") == "right";
  const DataType type = ComputeType(c.Common({boundaries, "self"}));
  std::string edges = c.InAs(boundaries, type);
  const std::string x = c.Unsqueeze(c.InAs("self", type), {-1});
  if (c.Rank(boundaries) > 1) edges = c.Unsqueeze(edges, {-2});
  const std::string below = c.Add(right ? "LessOrEqual" : "Less", {edges, x});
  c.Out(c.Add("ReduceSum", {c.Cast(below, DataType::kBool, DataType::kInt64), c.Ints64({-1})},
              {{"keepdims", int64_t{0}}}),
        DataType::kInt64);
}

}  // namespace

void RegisterPt2Operators_gather(OperatorRegistry& registry) {
  registry.Add("aten.index_select", IndexSelect);
  registry.Add("aten.gather", Gather);
  registry.Add("aten.take_along_dim", TakeAlong);
  registry.Add("aten.take", Take);
  registry.Add("aten.embedding", Embedding);
  registry.Add({"aten.embedding_bag", "aten._embedding_bag", "aten._embedding_bag_forward_only"},
               EmbeddingBag);
  registry.Add("aten.one_hot", OneHot);
  registry.Add("aten.nonzero", NonZero);
  registry.Add("aten.masked_select", MaskedSelect);
  registry.Add({"aten.bucketize", "aten.searchsorted"}, Search);
}

}  // namespace modelpress::pt2
