// Tensors joined and repeated.
//
//   cat, hstack, vstack, ... -> Concat, after promotion; empty tensors of rank 1 are left out, as torch does
//   stack -> Concat of Unsqueezed ones      repeat, tile -> Tile      repeat_interleave by a number -> Expand, Reshape
//   meshgrid -> Reshape, Expand
#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {
namespace {

Names Inputs(OperatorContext& c) { return c.ListAs("tensors", c.OutType()); }
int RankOf(OperatorContext& c, size_t i) { return c.scope().Meta(c.List("tensors")[i]).rank(); }

void Cat(OperatorContext& c) {
  const Names values = Inputs(c);
  Names kept;
  for (size_t i = 0; i < values.size(); ++i) {
    const TensorMeta& meta = c.scope().Meta(c.List("tensors")[i]);
    const bool nothing = meta.rank() == 1 && meta.sizes[0].value == 0 && c.Target().rank() != 1;
    const bool no_rows = meta.rank() == c.Target().rank() && meta.rank() > 0 &&
                         meta.sizes[static_cast<size_t>(c.Axis("dim", 0, meta.rank()))].value == 0;
    if (!nothing && !no_rows) kept.push_back(values[i]);
  }
  if (kept.empty() && !values.empty()) kept.push_back(values[0]);
  if (kept.empty()) return c.Malformed("it joins nothing");
  c.Out(c.Concat(std::move(kept), c.Axis("dim", 0, c.Target().rank())));
}

void Stack(OperatorContext& c) {
  Names values = Inputs(c);
  const int64_t axis = c.Axis("dim", 0, c.Target().rank());
  for (std::string& value : values) value = c.Unsqueeze(value, {axis});
  if (values.empty()) return c.Malformed("it joins nothing");
  c.Out(c.Concat(std::move(values), axis));
}

// hstack, vstack, dstack, column_stack: lower ranks get axes first.
void NamedStack(OperatorContext& c) {
  Names values = Inputs(c);
  if (values.empty()) return c.Malformed("it joins nothing");
  const std::string_view name = c.name();
  const int rank = RankOf(c, 0);
  int64_t axis = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const int own = RankOf(c, i);
    if (name == "hstack") {
      if (own == 0) values[i] = c.Reshape(values[i], Ints{1});
      axis = rank <= 1 ? 0 : 1;
    } else if (name == "column_stack") {
      if (own <= 1) values[i] = c.Reshape(values[i], Ints{-1, 1});
      axis = 1;
    } else if (name == "vstack") {
      if (own == 0) values[i] = c.Reshape(values[i], Ints{1, 1});
      if (own == 1) values[i] = c.Unsqueeze(values[i], {0});
    } else {  // dstack
      if (own == 0) values[i] = c.Reshape(values[i], Ints{1, 1, 1});
      if (own == 1) values[i] = c.Unsqueeze(values[i], {0, 2});
      if (own == 2) values[i] = c.Unsqueeze(values[i], {2});
      axis = 2;
    }
  }
  c.Out(c.Concat(std::move(values), axis));
}

void Repeat(OperatorContext& c) {
  std::string x = c.In("self");
  const bool tile = c.name() == "tile";
  const Argument* argument = c.Find(tile ? "dims" : "repeats");
  if (argument == nullptr) return c.Malformed("its repeats are missing");
  std::vector<SymInt> repeats = argument->ints;
  const size_t rank = static_cast<size_t>(c.Rank("self"));
  if (tile && repeats.size() < rank)
    repeats.insert(repeats.begin(), rank - repeats.size(), SymInt{.value = 1});
  if (repeats.size() < rank) return c.Malformed("it has fewer repeats than axes");
  Ints added;
  for (size_t i = 0; i < repeats.size() - rank; ++i) added.push_back(static_cast<int64_t>(i));
  x = c.Unsqueeze(x, added);
  c.Out(c.Add("Tile", {x, c.IntVector(repeats)}));
}

void RepeatInterleave(OperatorContext& c) {
  if (!c.overload().starts_with("self_int")) {
    return c.Refuse("its repeats are a tensor", "use torch.repeat_interleave with a number");
  }
  std::string x = c.In("self");
  const int64_t repeats = c.Int("repeats", 1);
  if (repeats < 1) return c.Refuse("it repeats nothing");
  if (!c.Has("dim")) {
    x = c.Reshape(x, Ints{-1, 1});
    x = c.Add("Tile", {x, c.Ints64({1, repeats})});
    return c.Out(c.Reshape(x, Ints{-1}));
  }
  const int rank = c.Rank("self");
  const int64_t axis = c.Axis("dim", 0, rank);
  if (rank == 0) return c.Out(c.Add("Tile", {c.Reshape(x, Ints{1}), c.Ints64({repeats})}));
  x = c.Unsqueeze(x, {axis + 1});
  Ints times(static_cast<size_t>(rank + 1), 1);
  times[static_cast<size_t>(axis + 1)] = repeats;
  x = c.Add("Tile", {x, c.Ints64(times)});
  // Axis and copies become one; others keep their extents.
  Ints dims(static_cast<size_t>(rank), 0);
  dims[static_cast<size_t>(axis)] =
      c.Extent("self", axis) >= 0 ? c.Extent("self", axis) * repeats : -1;
  for (int64_t i = axis + 1; i < rank; ++i) {
    // A 0 would copy the axis of that number, which is one further on now.
    const int64_t extent = c.Extent("self", i);
    if (extent < 0 && dims[static_cast<size_t>(axis)] < 0)
      return c.Refuse("two of its extents are not known");
    dims[static_cast<size_t>(i)] = extent;
  }
  c.Out(c.builder().Reshape(x, dims, /*copy_zeros=*/true));
}

void Meshgrid(OperatorContext& c) {
  const Names values = c.ListAs("tensors", c.OutType());
  const size_t count = values.size();
  const bool xy = c.Text("indexing", "ij") == "xy" && count >= 2;
  for (size_t i = 0; i < count && i < static_cast<size_t>(c.output_count()); ++i) {
    const size_t axis = xy && i < 2 ? 1 - i : i;
    Ints dims(count, 1);
    dims[axis] = -1;
    c.Out(c.Expand(c.Reshape(values[i], dims), c.Target(static_cast<int>(i))),
          c.OutType(static_cast<int>(i)), static_cast<int>(i));
  }
}

}  // namespace

void RegisterPt2Operators_join(OperatorRegistry& registry) {
  registry.Add({"aten.cat", "aten.concat", "aten.concatenate"}, Cat);
  registry.Add("aten.stack", Stack);
  registry.Add({"aten.hstack", "aten.vstack", "aten.dstack", "aten.column_stack"}, NamedStack);
  registry.Add({"aten.repeat", "aten.tile"}, Repeat);
  registry.Add("aten.repeat_interleave", RepeatInterleave);
  registry.Add("aten.meshgrid", Meshgrid);
}

}  // namespace modelpress::pt2
