// Parts of a tensor along an axis; all of them are views, and what is written into a part is put in its place.
//
//   slice -> Slice      select -> Gather of one index     narrow -> Slice     unbind -> Gather, one for each
//   split, chunk, tensor_split -> Split by the extents that the program says
//   slice_scatter, select_scatter -> the part replaced: what is before it, the new part, what is after it
#include <algorithm>
#include <limits>

#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {
namespace {

constexpr int64_t kEnd = std::numeric_limits<int64_t>::max();

int64_t SliceAxis(OperatorContext& c) {
  const std::string_view name = c.name();
  if (name == "hsplit") return c.Rank("self") > 1 ? 1 : 0;
  if (name == "vsplit" || name == "dsplit") return name == "dsplit" ? 2 : 0;
  return c.Axis("dim", 0, c.Rank("self"));
}

// One bound of a slice as a vector; numbers stay numbers.
std::string Bound(OperatorContext& c, std::string_view name, int64_t otherwise) {
  return c.Has(name) ? c.IntVector(name) : c.Ints64({otherwise});
}

// begin and end within 0 .. extent, if all are numbers.
bool KnownRange(OperatorContext& c, int64_t extent, int64_t* begin, int64_t* end) {
  if (extent < 0) return false;
  const auto known = [&](std::string_view name, int64_t otherwise) -> std::optional<int64_t> {
    const Argument* argument = c.Find(name);
    if (argument == nullptr) return otherwise;
    if (argument->kind == Argument::Kind::kSymInt) return c.Known({.name = argument->text});
    return argument->ints.size() == 1 ? std::optional(argument->ints[0].value) : std::nullopt;
  };
  const auto first = known("start", 0), last = known("end", kEnd);
  if (!first.has_value() || !last.has_value()) return false;
  const auto within = [&](int64_t value) {
    return std::clamp<int64_t>(value < 0 ? value + extent : value, 0, extent);
  };
  *begin = within(*first);
  *end = std::max(within(*last), *begin);
  return true;
}

bool IsNumber(OperatorContext& c, std::string_view name, int64_t otherwise, int64_t wanted) {
  const Argument* argument = c.Find(name);
  if (argument == nullptr) return otherwise == wanted;
  return argument->kind == Argument::Kind::kInt && argument->ints[0].value == wanted;
}

void Slice(OperatorContext& c) {
  const std::string x = c.In("self");
  const int64_t axis = SliceAxis(c), step = c.Int("step", 1), extent = c.Extent("self", axis);
  if (step < 1) return c.Malformed("its step is not positive");
  int64_t begin = 0, end = 0;
  if (KnownRange(c, extent, &begin, &end)) {
    if (step == 1 && begin == 0 && end == extent) return c.Out(x);
    return c.Out(c.Slice(x, axis, begin, end, step));
  }
  if (step == 1 && IsNumber(c, "start", 0, 0) && IsNumber(c, "end", kEnd, kEnd)) return c.Out(x);
  c.Out(c.Add("Slice", {x, Bound(c, "start", 0), Bound(c, "end", kEnd), c.Ints64({axis}),
                        c.Ints64({step})}));
}

// Whether the runtime's Where has a kernel for the type.
bool HasWhere(DataType type) {
  return type == DataType::kFloat || type == DataType::kFloat16 || type == DataType::kDouble ||
         type == DataType::kInt32 || type == DataType::kInt64;
}

// `parent` with elements begin, begin + step, ... before end along the axis replaced by `child`, which lacks the axis if
// it is `squeezed`.
std::string Replace(OperatorContext& c, const std::string& parent, std::string child, int64_t axis,
                    int64_t begin, int64_t end, int64_t step, int64_t extent,
                    bool squeezed = false) {
  const std::string number = c.FillOf(child);
  constexpr int64_t kMostMask = 4096;
  if (!number.empty() && extent <= kMostMask && HasWhere(c.OnnxType("self")) &&
      (begin != 0 || end != extent || step != 1)) {
    // One number: chosen by the place along the axis.
    std::vector<uint8_t> mask;
    for (int64_t i = 0; i < extent; ++i)
      mask.push_back(i >= begin && i < end && (i - begin) % step == 0 ? 1 : 0);
    Ints dims(static_cast<size_t>(c.Rank("self") - axis), 1);
    dims[0] = extent;
    const std::string replaced =
        c.model().Constant(DataType::kBool, dims, std::as_bytes(std::span(mask)));
    return c.Add("Where", {replaced, number, parent});
  }
  if (squeezed) child = c.Unsqueeze(child, {axis});
  if (begin == 0 && end == extent && step == 1) return child;
  if (step == 1) {
    Names parts;
    if (begin > 0) parts.push_back(c.Slice(parent, axis, 0, begin));
    if (end > begin) parts.push_back(child);
    if (end < extent) parts.push_back(c.Slice(parent, axis, end, extent));
    return c.Concat(std::move(parts), axis);
  }
  // Each place reads the old tensor or the new part, which is behind it.
  if (!c.Affordable(static_cast<double>(extent))) return "";
  Ints indices;
  for (int64_t i = 0; i < extent; ++i) {
    const bool replaced = i >= begin && i < end && (i - begin) % step == 0;
    indices.push_back(replaced ? extent + (i - begin) / step : i);
  }
  return c.Add("Gather", {c.Concat({parent, child}, axis), c.Ints64(indices)}, {{"axis", axis}});
}

std::string SliceBack(OperatorContext& c, const std::string& parent, const std::string& child,
                      int) {
  const int64_t axis = SliceAxis(c), extent = c.Extent("self", axis);
  int64_t begin = 0, end = 0;
  if (KnownRange(c, extent, &begin, &end))
    return Replace(c, parent, child, axis, begin, end, c.Int("step", 1), extent);
  if (IsNumber(c, "start", 0, 0) && IsNumber(c, "end", kEnd, kEnd) && c.Int("step", 1) == 1)
    return child;
  if (c.Int("step", 1) != 1) {
    c.Refuse("it is written through with a step, at an axis of unknown extent");
    return "";
  }
  const std::string before =
      c.Add("Slice", {parent, c.Ints64({0}), Bound(c, "start", 0), c.Ints64({axis})});
  const std::string after =
      c.Add("Slice", {parent, Bound(c, "end", kEnd), c.Ints64({kEnd}), c.Ints64({axis})});
  return c.Concat({before, child, after}, axis);
}

void Select(OperatorContext& c) {
  const std::string x = c.In("self");
  c.Out(c.Add("Gather", {x, c.InAs("index", DataType::kInt64)}, {{"axis", SliceAxis(c)}}));
}

std::string ReplaceSelected(OperatorContext& c, const std::string& parent,
                            const std::string& child) {
  const int64_t axis = SliceAxis(c), extent = c.Extent("self", axis);
  const int64_t index = c.Int("index", 0);
  if (extent < 0) {
    if (index != 0) {
      c.Refuse("it is written through at an axis of unknown extent");
      return "";
    }
    return c.Concat({c.Unsqueeze(child, {axis}), c.Slice(parent, axis, 1, kEnd)}, axis);
  }
  const int64_t place = index < 0 ? index + extent : index;
  if (place < 0 || place >= extent) {
    c.Malformed("its index does not exist");
    return "";
  }
  return Replace(c, parent, child, axis, place, place + 1, 1, extent, /*squeezed=*/true);
}

std::string SelectBack(OperatorContext& c, const std::string& parent, const std::string& child,
                       int) {
  return ReplaceSelected(c, parent, child);
}

// start and length, of which the sum may be computed.
void Narrow(OperatorContext& c) {
  const std::string x = c.In("self");
  const int64_t axis = SliceAxis(c);
  if (c.Find("start") != nullptr && c.Find("start")->kind == Argument::Kind::kInt &&
      c.Find("length") != nullptr && c.Find("length")->kind == Argument::Kind::kInt) {
    const int64_t begin = c.Int("start", 0), length = c.Int("length", 0);
    if (begin >= 0 && length >= 0 && length <= kEnd - begin)
      return c.Out(c.Slice(x, axis, begin, begin + length));
  }
  const std::string start = c.IntVector("start"), length = c.IntVector("length");
  c.Out(c.Add("Slice", {x, start, c.Add("Add", {start, length}), c.Ints64({axis})}));
}

std::string NarrowBack(OperatorContext& c, const std::string& parent, const std::string& child,
                       int) {
  const int64_t axis = SliceAxis(c), extent = c.Extent("self", axis);
  const int64_t start = c.Int("start", 0), length = c.Int("length", 0);
  if (extent < 0 || start < 0 || length < 0 || start > extent - length) {
    c.Refuse("it is written through at an axis of unknown extent");
    return "";
  }
  return Replace(c, parent, child, axis, start, start + length, 1, extent);
}

void Unbind(OperatorContext& c) {
  const std::string x = c.In("self");
  const int64_t axis = SliceAxis(c);
  for (int o = 0; o < c.output_count(); ++o) {
    if (!c.Wants(o)) continue;
    c.Out(c.Add("Gather", {x, c.model().Int64(o)}, {{"axis", axis}}), c.OutType(o), o);
  }
}

std::string UnbindBack(OperatorContext& c, const std::string& parent, const std::string& child,
                       int index) {
  const int64_t axis = SliceAxis(c);
  return Replace(c, parent, child, axis, index, index + 1, 1, c.output_count(),
                 /*squeezed=*/true);
}

// Extents of the outputs along the axis; empty where one is not known.
Ints Parts(OperatorContext& c, int64_t axis) {
  Ints parts;
  for (int o = 0; o < c.output_count(); ++o) {
    const TensorMeta& meta = c.Target(o);
    if (axis >= meta.rank() || !meta.sizes[static_cast<size_t>(axis)].value.has_value()) return {};
    parts.push_back(*meta.sizes[static_cast<size_t>(axis)].value);
  }
  return parts;
}

void Split(OperatorContext& c) {
  const std::string x = c.In("self");
  const int64_t axis = SliceAxis(c);
  const Ints parts = Parts(c, axis);
  if (c.output_count() == 1) return c.Out(x);
  Names made;
  if (!parts.empty()) {
    made = c.builder().AddMany("Split", {x, c.Ints64(parts)}, {{"axis", axis}}, c.output_count());
  } else if (c.name() == "chunk") {
    made = c.builder().AddMany("Split", {x},
                               {{"axis", axis}, {"num_outputs", int64_t{c.output_count()}}},
                               c.output_count());
  } else if (c.name() == "split_with_sizes" || c.Find("split_sizes") != nullptr) {
    made = c.builder().AddMany("Split", {x, c.IntVector("split_sizes")}, {{"axis", axis}},
                               c.output_count());
  } else {
    return c.Refuse("the extents of its parts are not known before the model runs",
                    "give --input-shape");
  }
  for (int o = 0; o < c.output_count(); ++o) c.Out(made[static_cast<size_t>(o)], c.OutType(o), o);
}

std::string SplitBack(OperatorContext& c, const std::string& parent, const std::string& child,
                      int index) {
  const int64_t axis = SliceAxis(c);
  const Ints parts = Parts(c, axis);
  if (parts.empty()) {
    c.Refuse("it is written through, and the extents of its parts are not known");
    return "";
  }
  int64_t begin = 0, extent = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i < static_cast<size_t>(index)) begin += parts[i];
    extent += parts[i];
  }
  return Replace(c, parent, child, axis, begin, begin + parts[static_cast<size_t>(index)], 1,
                 extent);
}

void SliceScatter(OperatorContext& c) {
  const std::string self = c.In("self"), source = c.InAs("src", c.OutType());
  if (c.name() == "select_scatter") return c.Out(ReplaceSelected(c, self, source));
  c.Out(SliceBack(c, self, source, 0));
}

}  // namespace

void RegisterPt2Operators_slice(OperatorRegistry& registry) {
  registry.AddView({"aten.slice", "aten.slice_copy"}, Slice, SliceBack);
  registry.AddView({"aten.select", "aten.select_copy"}, Select, SelectBack);
  registry.AddView({"aten.narrow"}, Narrow, NarrowBack);
  registry.AddView({"aten.unbind", "aten.unbind_copy"}, Unbind, UnbindBack);
  registry.AddView({"aten.split", "aten.split_with_sizes", "aten.chunk", "aten.tensor_split",
                    "aten.split_copy", "aten.split_with_sizes_copy", "aten.unsafe_split",
                    "aten.unsafe_chunk", "aten.hsplit", "aten.vsplit", "aten.dsplit"},
                   Split, SplitBack);
  registry.Add({"aten.slice_scatter", "aten.select_scatter"}, SliceScatter);
}

}  // namespace modelpress::pt2
