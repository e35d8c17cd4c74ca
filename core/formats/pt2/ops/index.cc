// Indexing with tensors, reading and writing (aten.index, index_put), as NumPy has it: tensors of indices are broadcast to
// each other and stand for one axis each, booleans for as many axes as they have.
//
//   one tensor of indices -> Gather along its axis
//   several               -> their axes first, GatherND with the indices side by side; where they were neighbours, what
//                            they give goes back to their place
//   booleans              -> NonZero first; writing one number where a mask is true -> Where
//   index_put -> ScatterND over the same order of axes, with reduction "add" if it accumulates
#include <algorithm>

#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {
namespace {

// Indices of one axis each.
struct Index {
  int64_t axis = 0;
  std::string value;
  int rank = 0;
  std::vector<Extent> sizes;  // of the value; what a mask gives has an extent that nobody knows
  bool counted = false;
};

// The list of the operator, masks taken apart. False if it cannot be done.
bool Collect(OperatorContext& c, std::vector<Index>* indices) {
  int64_t axis = 0;
  for (const std::string& name : c.List("indices")) {
    if (name.empty()) {
      ++axis;
      continue;
    }
    const TensorMeta& meta = c.scope().Meta(name);
    absl::StatusOr<std::string> value = c.scope().Value(name);
    if (!value.ok()) {
      c.Fail(value.status());
      return false;
    }
    if (meta.type != ScalarType::kBool && meta.type != ScalarType::kUint8) {
      indices->push_back({axis++, c.Cast(*value, ToOnnxType(meta.type), DataType::kInt64),
                          meta.rank(), meta.sizes, false});
      continue;
    }
    if (meta.rank() == 0) {
      c.Refuse("a truth value without axes is an index");
      return false;
    }
    const std::string mask = c.Cast(*value, ToOnnxType(meta.type), DataType::kBool);
    const std::string places = c.Add("NonZero", {mask});
    for (int64_t i = 0; i < meta.rank(); ++i) {
      indices->push_back({axis++,
                          c.Add("Gather", {places, c.model().Int64(i)}, {{"axis", int64_t{0}}}),
                          1,
                          {},
                          true});
    }
  }
  const int64_t rank = c.Rank("self");
  if (indices->empty() || axis > rank) {
    c.Malformed("its indices do not fit its axes");
    return false;
  }
  return true;
}

// All indices broadcast to one shape and side by side on a last axis; `*rank` receives the rank without that axis.
std::string SideBySide(OperatorContext& c, std::vector<Index>& indices, int* rank) {
  *rank = 0;
  bool equal = true;
  for (const Index& index : indices) {
    *rank = std::max(*rank, index.rank);
    equal &= index.counted == indices[0].counted && index.sizes == indices[0].sizes;
  }
  if (!equal) {
    // Their sum has the shape that they are broadcast to.
    std::string sum = indices[0].value;
    for (size_t i = 1; i < indices.size(); ++i) sum = c.Add("Add", {sum, indices[i].value});
    const std::string shape = c.Add("Shape", {sum});
    for (Index& index : indices) index.value = c.Add("Expand", {index.value, shape});
  }
  Names columns;
  for (const Index& index : indices) columns.push_back(c.Unsqueeze(index.value, {-1}));
  return c.Concat(std::move(columns), -1);
}

// The order of axes with those of the indices first.
Ints IndexedFirst(const std::vector<Index>& indices, int rank) {
  Ints perm;
  for (const Index& index : indices) perm.push_back(index.axis);
  for (int64_t axis = 0; axis < rank; ++axis) {
    if (!std::ranges::contains(perm, axis)) perm.push_back(axis);
  }
  return perm;
}

// Where what the indices give goes: the first index's axis if they are neighbours, else the front.
int64_t ResultAxis(const std::vector<Index>& indices) {
  for (size_t i = 1; i < indices.size(); ++i) {
    if (indices[i].axis != indices[i - 1].axis + 1) return 0;
  }
  return indices[0].axis;
}

// Moves axes [0, count) behind the `before` axes that follow them.
Ints Behind(int64_t count, int64_t before, int64_t rank) {
  Ints perm;
  for (int64_t i = 0; i < before; ++i) perm.push_back(count + i);
  for (int64_t i = 0; i < count; ++i) perm.push_back(i);
  for (int64_t i = count + before; i < rank; ++i) perm.push_back(i);
  return perm;
}

Ints Inverse(const Ints& perm) {
  Ints inverse(perm.size());
  for (size_t i = 0; i < perm.size(); ++i)
    inverse[static_cast<size_t>(perm[i])] = static_cast<int64_t>(i);
  return inverse;
}

void Read(OperatorContext& c) {
  std::vector<Index> indices;
  const std::string x = c.In("self");
  if (!c.ok() || !Collect(c, &indices)) return;
  if (indices.size() == 1)
    return c.Out(c.Add("Gather", {x, indices[0].value}, {{"axis", indices[0].axis}}));
  const int rank = c.Rank("self");
  int index_rank = 0;
  const std::string places = SideBySide(c, indices, &index_rank);
  const std::string first = c.builder().Transpose(x, IndexedFirst(indices, rank));
  const std::string y = c.Add("GatherND", {first, places});
  const int64_t rest = rank - static_cast<int64_t>(indices.size());
  c.Out(c.builder().Transpose(y, Behind(index_rank, ResultAxis(indices), index_rank + rest)));
}

// One mask and one number: no need to find the places.
bool FillMask(OperatorContext& c) {
  const std::vector<std::string>& names = c.List("indices");
  if (c.Bool("accumulate", false) || c.Rank("values") != 0 || !c.IsTensor("values")) return false;
  int64_t before = 0;
  while (before < static_cast<int64_t>(names.size()) && names[static_cast<size_t>(before)].empty())
    ++before;
  if (before + 1 != static_cast<int64_t>(names.size())) return false;
  const TensorMeta& meta = c.scope().Meta(names.back());
  if (meta.type != ScalarType::kBool) return false;
  absl::StatusOr<std::string> mask = c.scope().Value(names.back());
  if (!mask.ok()) return false;
  Ints after;
  for (int64_t i = before + meta.rank(); i < c.Rank("self"); ++i) after.push_back(i - before);
  const DataType type = ComputeType(c.Target().type);
  c.Out(c.Add("Where", {c.Unsqueeze(*mask, after), c.InAs("values", type), c.InAs("self", type)}),
        type);
  return true;
}

// What reading gives, if the program says the extents of everything; indices that are broadcast to each other are not
// worked out.
bool KnownShape(OperatorContext& c, const std::vector<Index>& indices, const Ints& perm,
                const Ints& behind, std::vector<Extent>* sizes) {
  std::vector<Extent> in_order = indices[0].sizes;
  for (const Index& index : indices) {
    if (index.counted || index.sizes != indices[0].sizes) return false;
  }
  for (size_t i = indices.size(); i < perm.size(); ++i)
    in_order.push_back(c.Meta("self").sizes[static_cast<size_t>(perm[i])]);
  if (in_order.size() != behind.size()) return false;
  for (const int64_t axis : behind) sizes->push_back(in_order[static_cast<size_t>(axis)]);
  return true;
}

void Write(OperatorContext& c) {
  if (FillMask(c)) return;
  std::vector<Index> indices;
  const bool accumulate = c.Bool("accumulate", false);
  const DataType type = accumulate ? ComputeType(c.Target().type) : c.OutType();
  const std::string x = c.InAs("self", type);
  std::string values = c.InAs("values", type);
  if (!c.ok() || !Collect(c, &indices)) return;
  const int rank = c.Rank("self");
  int index_rank = 0;
  const std::string places = SideBySide(c, indices, &index_rank);
  const Ints perm = IndexedFirst(indices, rank);
  const std::string first = c.builder().Transpose(x, perm);
  const int64_t rest = rank - static_cast<int64_t>(indices.size());
  // The values' shape: what the indices give and the other axes, in the order in which reading gives them.
  const Ints behind = Behind(index_rank, ResultAxis(indices), index_rank + rest);
  const bool moved = !std::ranges::is_sorted(behind);
  TensorMeta wanted{.type = c.Target().type};
  if (KnownShape(c, indices, perm, behind, &wanted.sizes)) {
    if (c.Meta("values").sizes != wanted.sizes) values = c.Expand(values, wanted);
  } else {
    const std::string of_places = c.Add("Shape", {places}, {{"end", int64_t{-1}}});
    const std::string of_rest =
        c.Add("Shape", {first}, {{"start", static_cast<int64_t>(indices.size())}});
    std::string shape = c.Concat({of_places, of_rest}, 0);
    if (moved) shape = c.Add("Gather", {shape, c.Ints64(behind)}, {{"axis", int64_t{0}}});
    values = c.Add("Expand", {values, shape});
  }
  if (moved) values = c.builder().Transpose(values, Inverse(behind));
  Attributes attributes;
  if (accumulate) attributes.push_back({"reduction", std::string("add")});
  const std::string y = c.Add("ScatterND", {first, places, values}, std::move(attributes));
  c.Out(c.builder().Transpose(y, Inverse(perm)), type);
}

}  // namespace

void RegisterPt2Operators_index(OperatorRegistry& registry) {
  registry.Add({"aten.index.Tensor", "aten._unsafe_index.Tensor"}, Read);
  registry.Add({"aten.index_put", "aten._unsafe_index_put"}, Write);
}

}  // namespace modelpress::pt2
