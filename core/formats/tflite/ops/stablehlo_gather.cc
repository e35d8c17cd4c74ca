// StableHLO by index: STABLEHLO_GATHER, STABLEHLO_SCATTER (version 1; float32, integers).
//
//   GATHER -> GatherND. Each row of indices is a start, held within the operand; a grid of the window's places is added to
//     it, but for the last axes that every window takes whole. A Transpose puts the window's axes where they belong.
//   SCATTER -> ScatterND with the reduction that its graph computes, the updates turned the same way. Elements beyond the
//     operand, which the source leaves out, go to a row behind it that is cut off again; there is none where constant
//     indices say that nothing lies there.
#include <algorithm>
#include <numeric>

#include "core/formats/tflite/stablehlo.h"

namespace modelpress::tflite {
namespace {

std::vector<int64_t> Count(int64_t from, int64_t to) {
  std::vector<int64_t> numbers(static_cast<size_t>(std::max<int64_t>(to - from, 0)));
  std::iota(numbers.begin(), numbers.end(), from);
  return numbers;
}

// How rows of an index tensor name windows of an operand.
struct Windows {
  std::vector<int64_t> operand;  // shape
  std::vector<int64_t> size;     // of the window, for each axis of the operand
  std::vector<int64_t> flat;     // axes of the operand that the result lacks; size 1
  std::vector<int64_t> named;    // axes that a row of indices names, in its order
  int64_t index_axis = 0;        // of the index tensor; its rank if rows are scalars
  int64_t depth = 0;             // axes behind these are whole in every window
};

absl::Status Check(OperatorContext& c, int indices, Windows* windows) {
  const int64_t rank = static_cast<int64_t>(windows->operand.size());
  if (!c.Source(0).is_static() || !c.Source(indices).is_static())
    return c.Unsupported("the shapes of its inputs are not known");
  const std::vector<int64_t>& rows = c.Source(indices).shape;
  const int64_t index_rank = static_cast<int64_t>(rows.size());
  if (static_cast<int64_t>(windows->size.size()) != rank || !AreAxes(windows->flat, rank) ||
      !AreAxes(windows->named, rank) || windows->index_axis < 0 ||
      windows->index_axis > index_rank ||
      (windows->index_axis < index_rank ? rows[windows->index_axis] : 1) !=
          static_cast<int64_t>(windows->named.size())) {
    return c.Malformed("its axes are not valid");
  }
  for (int64_t i = 0; i < rank; ++i) {
    const bool flat = std::ranges::contains(windows->flat, i);
    if (windows->size[i] < 0 || windows->size[i] > windows->operand[i] ||
        (flat && windows->size[i] != 1))
      return c.Malformed("its windows do not fit its operand");
    const bool whole = windows->size[i] == windows->operand[i] && !flat &&
                       !std::ranges::contains(windows->named, i);
    if (!whole) windows->depth = i + 1;
  }
  return absl::OkStatus();
}

// Indices [rows.., window.., depth] of every place that the rows' windows have in the first `depth` axes.
absl::StatusOr<std::string> Places(OperatorContext& c, int indices, const Windows& windows,
                                   bool hold) {
  import::ModelBuilder& model = c.model();
  MP_ASSIGN_OR_RETURN(std::string start, c.Int64In(indices));
  const int64_t index_rank = static_cast<int64_t>(c.Source(indices).shape.size()),
                names = static_cast<int64_t>(windows.named.size());
  if (windows.index_axis == index_rank) {
    start = c.Add("Unsqueeze", {start, model.Int64s({-1})});
  } else if (windows.index_axis + 1 != index_rank) {
    std::vector<int64_t> perm = Count(0, index_rank);
    std::rotate(perm.begin() + windows.index_axis, perm.begin() + windows.index_axis + 1,
                perm.end());
    start = c.builder().Transpose(start, perm);
  }
  const int64_t row_rank = windows.index_axis == index_rank ? index_rank : index_rank - 1;
  if (hold) {
    std::vector<int64_t> last;
    for (const int64_t axis : windows.named)
      last.push_back(windows.operand[axis] - windows.size[axis]);
    start = c.Add("Max", {c.Add("Min", {start, model.Int64s(last)}), model.Int64(0)});
  }
  // A column for each of the first axes; those that no index names start at 0.
  std::vector<int64_t> columns;
  for (int64_t axis = 0; axis < windows.depth; ++axis)
    columns.push_back(std::ranges::find(windows.named, axis) - windows.named.begin());
  if (std::ranges::contains(columns, names)) {
    std::vector<int64_t> pads(2 * (row_rank + 1), 0);
    pads.back() = 1;
    start = c.Add("Pad", {start, model.Int64s(pads)});
  }
  if (columns != Count(0, names))
    start = c.Add("Gather", {start, model.Int64s(columns)}, {{"axis", int64_t{-1}}});
  std::vector<int64_t> dims;
  int64_t count = 1;
  for (int64_t axis = 0; axis < windows.depth; ++axis) {
    if (std::ranges::contains(windows.flat, axis)) continue;
    MP_RETURN_IF_ERROR(c.Limit(count, windows.size[axis]));
    dims.push_back(windows.size[axis]);
    count *= windows.size[axis];
  }
  if (dims.empty()) return start;
  MP_RETURN_IF_ERROR(c.Limit(count, windows.depth));
  std::vector<int64_t> grid(count * windows.depth, 0);
  for (int64_t place = 0; place < count; ++place) {
    int64_t rest = place;
    for (int64_t axis = windows.depth; axis-- > 0;) {
      if (std::ranges::contains(windows.flat, axis)) continue;
      grid[place * windows.depth + axis] = rest % windows.size[axis];
      rest /= windows.size[axis];
    }
  }
  const std::vector<int64_t> between =
      Count(row_rank, row_rank + static_cast<int64_t>(dims.size()));
  start = c.Add("Unsqueeze", {start, model.Int64s(between)});
  dims.push_back(windows.depth);
  return c.Add("Add",
               {start, model.Constant(DataType::kInt64, dims, std::as_bytes(std::span(grid)))});
}

// The order of axes that puts `inner`, in its order, behind all others of that rank.
std::vector<int64_t> InnerLast(const std::vector<int64_t>& inner, int64_t rank) {
  std::vector<int64_t> perm;
  for (int64_t i = 0; i < rank; ++i) {
    if (!std::ranges::contains(inner, i)) perm.push_back(i);
  }
  perm.insert(perm.end(), inner.begin(), inner.end());
  return perm;
}

// Whether constant indices say that every window lies within the operand.
bool AllWithin(OperatorContext& c, int indices, const Windows& windows) {
  if (!c.IsConstant(indices)) return false;
  const absl::StatusOr<std::vector<int64_t>> values = c.Ints(indices);
  if (!values.ok()) return false;
  const std::vector<int64_t>& shape = c.Source(indices).shape;
  size_t inner = 1;
  for (size_t axis = windows.index_axis + 1; axis < shape.size(); ++axis) inner *= shape[axis];
  for (size_t i = 0; i < values->size(); ++i) {
    const int64_t axis = windows.named[i / inner % windows.named.size()];
    if ((*values)[i] < 0 || (*values)[i] > windows.operand[axis] - windows.size[axis]) return false;
  }
  return true;
}

// The places, but that of the first row behind the operand where one lies beyond it.
std::string OrBehind(OperatorContext& c, const std::string& places, const Windows& windows) {
  import::ModelBuilder& model = c.model();
  std::vector<int64_t> last, behind(windows.depth, 0);
  for (int64_t axis = 0; axis < windows.depth; ++axis) last.push_back(windows.operand[axis] - 1);
  behind[0] = windows.operand[0];
  const std::string held =
      c.Add("Max", {c.Add("Min", {places, model.Int64s(last)}), model.Int64(0)});
  const std::string same = c.builder().Cast(c.Add("Equal", {held, places}), DataType::kInt32);
  const std::string all = c.Add("ReduceMin", {same, model.Int64s({-1})});
  return c.Add("Where", {c.builder().Cast(all, DataType::kBool), places, model.Int64s(behind)});
}

absl::Status Gather(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  const auto& options = c.Options2<schema::StablehloGatherOptions>();
  Windows windows;
  windows.operand = c.Source(0).shape;
  windows.size = List(options.slice_sizes());
  windows.flat = List(options.collapsed_slice_dims());
  windows.named = List(options.start_index_map());
  windows.index_axis = options.index_vector_dim();
  MP_RETURN_IF_ERROR(Check(c, 1, &windows));
  const std::vector<int64_t> inner = List(options.offset_dims());
  const int64_t index_rank = static_cast<int64_t>(c.Source(1).shape.size());
  const int64_t rank = (windows.index_axis == index_rank ? index_rank : index_rank - 1) +
                       static_cast<int64_t>(inner.size());
  if (inner.size() + windows.flat.size() != windows.operand.size() || !AreAxes(inner, rank))
    return c.Malformed("its axes are not valid");
  MP_ASSIGN_OR_RETURN(const std::string x, c.Moved(0));
  if (windows.depth == 0) return c.Unsupported("every window is the whole operand");
  MP_ASSIGN_OR_RETURN(const std::string places, Places(c, 1, windows, /*hold=*/true));
  const std::string y = c.Add("GatherND", {x, places});
  const std::vector<int64_t> perm = InnerLast(inner, rank);
  std::vector<int64_t> back(perm.size());
  for (size_t i = 0; i < perm.size(); ++i) back[perm[i]] = static_cast<int64_t>(i);
  return c.OutMoved(0, 0, c.builder().Transpose(y, back));
}

// Inputs: operand, indices, updates.
absl::Status Scatter(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(3, 1));
  if (c.input_count() != 3) return c.Unsupported("it updates more than one tensor at a time");
  const auto& options = c.Options2<schema::StablehloScatterOptions>();
  MP_ASSIGN_OR_RETURN(const std::string_view combination,
                      Combination(c, options.update_computation_subgraph_index()));
  Windows windows;
  windows.operand = c.Source(0).shape;
  windows.flat = List(options.inserted_window_dims());
  windows.named = List(options.scatter_dims_to_operand_dims());
  windows.index_axis = options.index_vector_dim();
  const std::vector<int64_t> inner = List(options.update_window_dims());
  const std::vector<int64_t>& updates = c.Source(2).shape;
  const int64_t rank = static_cast<int64_t>(updates.size());
  if (!c.Source(2).is_static()) return c.Unsupported("the shape of its updates is not known");
  if (inner.size() + windows.flat.size() != windows.operand.size() || !AreAxes(inner, rank))
    return c.Malformed("its axes are not valid");
  size_t next = 0;
  for (int64_t i = 0; i < static_cast<int64_t>(windows.operand.size()); ++i) {
    const bool flat = std::ranges::contains(windows.flat, i);
    if (!flat && next >= inner.size()) return c.Malformed("its axes are not valid");
    windows.size.push_back(flat ? 1 : updates[inner[next++]]);
  }
  MP_RETURN_IF_ERROR(Check(c, 1, &windows));
  if (windows.depth == 0) return c.Unsupported("every window is the whole operand");
  const bool is_bool = c.Source(0).type == TensorType::BOOL;
  if (combination == "And" || combination == "Or") return c.Unsupported("it combines truth values");
  const DataType type = is_bool ? DataType::kBool : c.ComputeType(c.Source(0));
  MP_ASSIGN_OR_RETURN(std::string x, c.InAs(0, type));
  MP_ASSIGN_OR_RETURN(std::string values, c.InAs(2, type));
  MP_ASSIGN_OR_RETURN(std::string places, Places(c, 1, windows, /*hold=*/false));
  const bool within = AllWithin(c, 1, windows);
  if (!within) {
    places = OrBehind(c, places, windows);
    std::vector<int64_t> pads(2 * windows.operand.size(), 0);
    pads[windows.operand.size()] = 1;
    x = c.Add("Pad", {x, c.model().Int64s(pads)});
  }
  values = c.builder().Transpose(values, InnerLast(inner, rank));
  Attributes attributes;
  if (combination == "Add") attributes.push_back({"reduction", std::string("add")});
  if (combination == "Mul") attributes.push_back({"reduction", std::string("mul")});
  if (combination == "Max") attributes.push_back({"reduction", std::string("max")});
  if (combination == "Min") attributes.push_back({"reduction", std::string("min")});
  std::string y = c.Add("ScatterND", {x, places, values}, std::move(attributes));
  if (!within) y = c.builder().Slice(y, {0}, {windows.operand[0]}, {0});
  return c.Out(0, y, type);
}

}  // namespace

void RegisterTfliteOperators_stablehlo_gather(OperatorRegistry& registry) {
  registry.Add(BuiltinOperator::STABLEHLO_GATHER, Gather);
  registry.Add(BuiltinOperator::STABLEHLO_SCATTER, Scatter);
}

}  // namespace modelpress::tflite
