// Results whose size depends on the data, and counts.
//
//   unique -> Unique, sorted        unique_consecutive -> Compress of what differs from the element before it
//   bincount, histc -> ScatterElements that adds into zeros
//   argwhere, nonzero as a tuple, nonzero_static -> NonZero
#include <limits>

#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {
namespace {

// A type that Unique has a kernel for.
DataType Sortable(ScalarType type) {
  if (type == ScalarType::kFloat64) return DataType::kDouble;
  return IsFloating(type) ? DataType::kFloat : DataType::kInt64;
}

void Unique(OperatorContext& c) {
  const DataType type = Sortable(c.Type("self"));
  const std::string x = c.InAs("self", type);
  const bool along = c.name() == "unique_dim";
  Attributes attributes;
  if (along) attributes = {{"axis", c.Axis("dim", 0, c.Rank("self"))}};
  const Names made = c.builder().AddMany("Unique", {x}, std::move(attributes), 4);  // sorted
  c.Out(made[0], type, 0);
  if (c.Wants(1)) {
    c.Out(along ? made[2] : c.Add("Reshape", {made[2], c.ShapeOf("self")}), DataType::kInt64, 1);
  }
  if (c.Wants(2)) c.Out(made[3], DataType::kInt64, 2);
}

void Consecutive(OperatorContext& c) {
  if (c.Has("dim") && c.Rank("self") != 1) return c.Refuse("it compares along an axis");
  const DataType type = ComputeType(c.Type("self"));
  const std::string x = c.Reshape(c.InAs("self", type), Ints{-1});
  const std::string next = c.Slice(x, 0, 1, std::numeric_limits<int64_t>::max()),
                    last = c.Slice(x, 0, 0, -1);
  const uint8_t yes = 1;
  const std::string first =
      c.model().Constant(DataType::kBool, Ints{1}, std::as_bytes(std::span(&yes, 1)));
  const std::string begins = c.Concat({first, c.Add("Not", {c.Add("Equal", {next, last})})}, 0);
  c.Out(c.Add("Compress", {x, begins}, {{"axis", int64_t{0}}}), type, 0);
  if (c.Wants(1)) {
    const std::string count =
        c.Add("CumSum", {c.Cast(begins, DataType::kBool, DataType::kInt64), c.model().Int64(0)});
    const std::string place = c.Add("Sub", {count, c.model().Int64(1)});
    c.Out(c.Add("Reshape", {place, c.ShapeOf("self")}), DataType::kInt64, 1);
  }
  if (c.Wants(2)) {
    const std::string starts = c.Reshape(c.Add("NonZero", {begins}), Ints{-1});
    const std::string ends = c.Concat(
        {c.Slice(starts, 0, 1, std::numeric_limits<int64_t>::max()), c.Add("Shape", {x})}, 0);
    c.Out(c.Add("Sub", {ends, starts}), DataType::kInt64, 2);
  }
}

// How much falls on each of `count` (an int64 vector of one element) places.
std::string Sums(OperatorContext& c, const std::string& places, const std::string& what,
                 const std::string& count, DataType type) {
  const std::string zeros = c.Add("Expand", {c.Number(type, 0), count});
  return c.Add("ScatterElements", {zeros, places, what},
               {{"axis", int64_t{0}}, {"reduction", std::string("add")}});
}

void BinCount(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const std::string x = c.InAs("self", DataType::kInt64);
  const std::string largest = c.Add("ReduceMax", {x}, {{"keepdims", int64_t{1}}});
  const std::string count = c.Add("Max", {c.Add("Add", {largest, c.model().Int64(1)}),
                                          c.InAs("minlength", DataType::kInt64).empty()
                                              ? c.model().Int64(0)
                                              : c.InAs("minlength", DataType::kInt64)});
  const std::string what = c.Has("weights")
                               ? c.InAs("weights", type)
                               : c.Add("Expand", {c.Number(type, 1), c.Add("Shape", {x})});
  c.Out(Sums(c, x, what, count, type), type);
}

void Histogram(OperatorContext& c) {
  const DataType type = FloatOnly(c.Target().type);
  const int64_t bins = c.Int("bins", 100);
  const double low = c.Float("min", 0), high = c.Float("max", 0);
  if (!(low < high)) return c.Refuse("its range is that of the data", "give min and max");
  if (bins < 1 || !c.Affordable(static_cast<double>(bins))) return c.Malformed("it has no bins");
  const std::string x = c.Reshape(c.InAs("self", type), Ints{-1});
  const std::string from = c.Number(type, low), to = c.Number(type, high);
  const std::string share = c.Add("Div", {c.Add("Sub", {x, from}), c.Number(type, high - low)});
  const std::string place =
      c.Cast(c.Add("Floor", {c.Add("Mul", {share, c.Number(type, static_cast<double>(bins))})}),
             type, DataType::kInt64);
  const std::string inside =
      c.Add("And", {c.Add("GreaterOrEqual", {x, from}), c.Add("LessOrEqual", {x, to})});
  // The upper end belongs to the last bin; what is outside goes behind it.
  const std::string last = c.Add("Min", {place, c.model().Int64(bins - 1)});
  const std::string where = c.Add("Where", {inside, last, c.model().Int64(bins)});
  const std::string ones = c.Add("Expand", {c.Number(type, 1), c.Add("Shape", {x})});
  const std::string sums = Sums(c, where, ones, c.Ints64({bins + 1}), type);
  c.Out(c.Slice(sums, 0, 0, bins), type);
}

void Where(OperatorContext& c) {
  const int rank = c.Rank("self");
  if (rank == 0) return c.Refuse("its input has no axes");
  const std::string places = c.Add("NonZero", {c.InAs("self", DataType::kBool)});
  if (c.name() == "nonzero_numpy") {
    for (int o = 0; o < c.output_count(); ++o) {
      if (!c.Wants(o)) continue;
      c.Out(c.Add("Gather", {places, c.model().Int64(o)}, {{"axis", int64_t{0}}}), DataType::kInt64,
            o);
    }
    return;
  }
  const std::string rows = c.builder().Transpose(places, {1, 0});
  if (c.name() == "argwhere") return c.Out(rows, DataType::kInt64);
  // nonzero_static: as many rows as are asked for
  const int64_t size = c.Int("size", 0);
  if (size < 0) return c.Malformed("its size is negative");
  const std::string rest =
      c.Add("Expand", {c.model().Int64(c.Int("fill_value", -1)), c.Ints64({size, rank})});
  c.Out(c.Slice(c.Concat({rows, rest}, 0), 0, 0, size), DataType::kInt64);
}

}  // namespace

void RegisterPt2Operators_sets(OperatorRegistry& registry) {
  registry.Add({"aten._unique2", "aten.unique_dim"}, Unique);
  registry.Add("aten.unique_consecutive", Consecutive);
  registry.Add("aten.bincount", BinCount);
  registry.Add("aten.histc", Histogram);
  registry.Add({"aten.argwhere", "aten.nonzero_numpy", "aten.nonzero_static"}, Where);
}

}  // namespace modelpress::pt2
