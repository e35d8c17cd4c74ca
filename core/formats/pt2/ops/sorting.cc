// Order: topk, sort, argsort, msort, kthvalue, median, all of them through TopK, which puts the earlier of equal elements
// first, as torch's stable sort does.
#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {
namespace {

Names Top(OperatorContext& c, const std::string& x, const std::string& k, int64_t axis,
          bool largest, bool sorted = true) {
  return c.builder().AddMany(
      "TopK", {x, k}, {{"axis", axis}, {"largest", int64_t{largest}}, {"sorted", int64_t{sorted}}},
      2);
}

// The extent of an axis as a vector of one number.
std::string Extent(OperatorContext& c, int64_t axis) {
  const int64_t known = c.Extent("self", axis);
  if (known >= 0) return c.Ints64({known});
  return c.Add("Shape", {c.In("self")}, {{"start", axis}, {"end", axis + 1}});
}

void TopK(OperatorContext& c) {
  const DataType type = ComputeType(c.Type("self"));
  const std::string x = c.InAs("self", type);
  const int rank = c.Rank("self");
  if (rank == 0) return c.Refuse("its input has no axes");
  const std::string k = c.IntVector("k");
  const Names found = Top(c, x, k, c.Axis("dim", -1, rank), c.Bool("largest", true));
  c.Out(found[0], type, 0);
  c.Out(found[1], DataType::kInt64, 1);
}

void Sort(OperatorContext& c) {
  const DataType type = ComputeType(c.Type("self"));
  const std::string x = c.InAs("self", type);
  const int rank = c.Rank("self");
  const bool only_places = c.name() == "argsort";
  if (rank == 0) {
    if (!only_places) c.Out(x, type, 0);
    return c.Out(c.model().Int64(0), DataType::kInt64, only_places ? 0 : 1);
  }
  const int64_t axis = c.Axis("dim", c.name() == "msort" ? 0 : -1, rank);
  const Names found = Top(c, x, Extent(c, axis), axis, c.Bool("descending", false));
  if (!only_places) c.Out(found[0], type, 0);
  c.Out(found[1], DataType::kInt64, only_places ? 0 : 1);
}

// The element at `place` (a number) of each row in ascending order.
void Nth(OperatorContext& c, const std::string& x, DataType type, const std::string& k,
         const std::string& place, int64_t axis, bool keep) {
  const Names found = Top(c, x, k, axis, /*largest=*/false);
  for (int o = 0; o < std::min(c.output_count(), 2); ++o) {
    std::string value = c.Add("Gather", {found[static_cast<size_t>(o)], place}, {{"axis", axis}});
    if (keep) value = c.Unsqueeze(value, {axis});
    c.Out(value, o == 0 ? type : DataType::kInt64, o);
  }
}

void KthValue(OperatorContext& c) {
  const DataType type = ComputeType(c.Type("self"));
  const int rank = c.Rank("self");
  if (rank == 0) return c.Refuse("its input has no axes");
  const int64_t k = c.Int("k", 1);
  if (k < 1) return c.Malformed("its k is not positive");
  Nth(c, c.InAs("self", type), type, c.Ints64({k}), c.model().Int64(k - 1), c.Axis("dim", -1, rank),
      c.Bool("keepdim", false));
}

// The lower one of the two in the middle.
void Median(OperatorContext& c) {
  const DataType type = ComputeType(c.Type("self"));
  std::string x = c.InAs("self", type);
  const int rank = c.Rank("self");
  if (rank == 0) return c.Out(x, type);
  int64_t axis = 0;
  std::string count;
  if (c.Has("dim")) {
    axis = c.Axis("dim", 0, rank);
    count = Extent(c, axis);
  } else {
    x = c.Reshape(x, Ints{-1});
    count = c.Add("Shape", {x});
  }
  const std::string middle =
      c.Add("Div", {c.Add("Sub", {count, c.model().Int64(1)}), c.model().Int64(2)});
  Nth(c, x, type, count, c.Reshape(middle, Ints{}), axis, c.Bool("keepdim", false));
}

}  // namespace

void RegisterPt2Operators_sorting(OperatorRegistry& registry) {
  registry.Add("aten.topk", TopK);
  registry.Add({"aten.sort", "aten.argsort", "aten.msort"}, Sort);
  registry.Add("aten.kthvalue", KthValue);
  registry.Add("aten.median", Median);
}

}  // namespace modelpress::pt2
