// StableHLO that moves elements: STABLEHLO_BROADCAST_IN_DIM, _CONCATENATE, _DYNAMIC_SLICE, _IOTA, _PAD, _RESHAPE, _SLICE,
// _SORT, _TRANSPOSE; DILATE (version 1; all types that the runtime moves).
//
//   BROADCAST_IN_DIM -> Reshape to the output's rank, Expand      IOTA -> a constant, Expand
//   DYNAMIC_SLICE -> Slice from a start that is held within the input
//   PAD, DILATE -> Pad; with elements between neighbours Reshape, Pad, Reshape, Pad (stablehlo.h)
//   SORT by one comparison of its first input -> TopK; the other inputs are gathered by its indices
#include <algorithm>
#include <limits>
#include <numeric>

#include "core/formats/tflite/stablehlo.h"

namespace modelpress::tflite {
namespace {

absl::StatusOr<std::vector<int64_t>> StaticTarget(OperatorContext& c) {
  if (c.output_count() < 1 || !c.Target().is_static())
    return c.Unsupported("the shape of its output is not known",
                         "export the model with fixed shapes");
  return c.Target().shape;
}

absl::Status Reshape(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  MP_ASSIGN_OR_RETURN(const std::vector<int64_t> dims, StaticTarget(c));
  MP_ASSIGN_OR_RETURN(const std::string x, c.Moved(0));
  return c.OutMoved(0, 0, c.builder().Reshape(x, dims));
}

absl::Status BroadcastInDim(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  MP_ASSIGN_OR_RETURN(const std::vector<int64_t> target, StaticTarget(c));
  MP_ASSIGN_OR_RETURN(const int rank, c.KnownRank(0));
  const auto* list = c.Options2<schema::StablehloBroadcastInDimOptions>().broadcast_dimensions();
  const std::vector<int64_t> axes = List(list);
  if (static_cast<int>(axes.size()) != rank || !std::ranges::is_sorted(axes) ||
      !AreAxes(axes, static_cast<int64_t>(target.size())) || !c.Source(0).is_static()) {
    return c.Unsupported("its axes are not in order, or its shapes not known");
  }
  std::vector<int64_t> dims(target.size(), 1);
  for (int i = 0; i < rank; ++i) dims[axes[i]] = c.Source(0).shape[i];
  MP_ASSIGN_OR_RETURN(std::string x, c.Moved(0));
  if (dims != c.Source(0).shape) x = c.builder().Reshape(x, dims);
  if (dims != target) x = c.Add("Expand", {x, c.model().Int64s(target)});
  return c.OutMoved(0, 0, x);
}

absl::Status Concatenate(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  MP_ASSIGN_OR_RETURN(const int rank, c.KnownRank(0));
  const int64_t written = c.Options2<schema::StablehloConcatenateOptions>().dimension();
  MP_ASSIGN_OR_RETURN(const int64_t axis, c.Axis(written, rank));
  Names parts;
  for (int i = 0; i < c.input_count(); ++i) {
    if (!c.Has(i)) return c.Malformed("an input is missing");
    MP_ASSIGN_OR_RETURN(parts.emplace_back(), c.In(i));
  }
  return c.Out(0, c.Add("Concat", std::move(parts), {{"axis", axis}}), c.RealType(c.Source(0)));
}

absl::Status Slice(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  MP_ASSIGN_OR_RETURN(const int rank, c.KnownRank(0));
  const auto& options = c.Options2<schema::StablehloSliceOptions>();
  const std::vector<int64_t> starts = List(options.start_indices()),
                             ends = List(options.limit_indices()), steps = List(options.strides());
  const size_t count = static_cast<size_t>(rank);
  if (starts.size() != count || ends.size() != count || steps.size() != count)
    return c.Malformed("its bounds are not one for each axis");
  std::vector<int64_t> axes(count);
  std::iota(axes.begin(), axes.end(), 0);
  for (size_t i = 0; i < count; ++i) {
    if (starts[i] < 0 || ends[i] < starts[i] || steps[i] < 1)
      return c.Malformed("its bounds are not valid");
  }
  MP_ASSIGN_OR_RETURN(const std::string x, c.Moved(0));
  return c.OutMoved(0, 0, rank == 0 ? x : c.builder().Slice(x, starts, ends, axes, steps));
}

absl::Status Transpose(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  MP_ASSIGN_OR_RETURN(const int rank, c.KnownRank(0));
  const std::vector<int64_t> perm =
      List(c.Options2<schema::StablehloTransposeOptions>().permutation());
  if (static_cast<int>(perm.size()) != rank || !AreAxes(perm, rank))
    return c.Malformed("its permutation is none");
  MP_ASSIGN_OR_RETURN(const std::string x, c.Moved(0));
  return c.OutMoved(0, 0, c.builder().Transpose(x, perm));
}

absl::Status Iota(OperatorContext& c) {
  MP_ASSIGN_OR_RETURN(const std::vector<int64_t> target, StaticTarget(c));
  const int64_t axis = c.Options2<schema::StablehloIotaOptions>().iota_dimension();
  if (!AreAxes({axis}, static_cast<int64_t>(target.size())))
    return c.Malformed("its axis does not exist");
  MP_RETURN_IF_ERROR(c.Limit(target[axis], 1));
  std::vector<int64_t> numbers(target[axis]), dims(target.size(), 1);
  std::iota(numbers.begin(), numbers.end(), 0);
  dims[axis] = target[axis];
  std::string y = c.model().Constant(DataType::kInt64, dims, std::as_bytes(std::span(numbers)));
  if (dims != target) y = c.Add("Expand", {y, c.model().Int64s(target)});
  return c.Out(0, y, DataType::kInt64);
}

// Inputs: operand, then the start of each axis, a scalar.
absl::Status DynamicSlice(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  const std::vector<int64_t>& shape = c.Source(0).shape;
  const std::vector<int64_t> sizes =
      List(c.Options2<schema::StablehloDynamicSliceOptions>().slice_sizes());
  if (!c.Source(0).is_static()) return c.Unsupported("the shape of its input is not known");
  if (sizes.size() != shape.size() || c.input_count() != static_cast<int>(shape.size()) + 1)
    return c.Malformed("its starts or sizes are not one for each axis");
  MP_ASSIGN_OR_RETURN(const std::string x, c.Moved(0));
  if (shape.empty()) return c.OutMoved(0, 0, x);
  std::vector<int64_t> last, axes;
  Names starts;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (sizes[i] < 0 || sizes[i] > shape[i]) return c.Malformed("a size is not valid");
    last.push_back(shape[i] - sizes[i]);
    axes.push_back(static_cast<int64_t>(i));
    if (!c.Has(static_cast<int>(i) + 1)) return c.Malformed("a start is missing");
    MP_ASSIGN_OR_RETURN(const std::string start, c.Int64In(static_cast<int>(i) + 1));
    starts.push_back(c.builder().Reshape(start, {1}));
  }
  std::string start =
      starts.size() == 1 ? starts[0] : c.Add("Concat", std::move(starts), {{"axis", int64_t{0}}});
  start = c.Add("Max", {c.Add("Min", {start, c.model().Int64s(last)}), c.model().Int64(0)});
  const std::string end = c.Add("Add", {start, c.model().Int64s(sizes)});
  return c.OutMoved(0, 0, c.Add("Slice", {x, start, end, c.model().Int64s(axes)}));
}

// The types that the runtime pads; the others as ComputeType.
DataType PaddedType(const OperatorContext& c) {
  switch (c.Source(0).type) {
    case TensorType::BOOL:
    case TensorType::INT8:
    case TensorType::UINT8:
      return ToOnnxType(c.Source(0).type);
    default:
      return c.ComputeType(c.Source(0));
  }
}

// Operand and value in one type: codes as they are where both have the same scale.
absl::Status Padded(OperatorContext& c, const std::vector<int64_t>& gaps,
                    const std::vector<int64_t>& low, const std::vector<int64_t>& high, int value) {
  if (!c.Source(0).is_static()) return c.Unsupported("the shape of its input is not known");
  const bool quantized = IsQuantized(c.Source(0));
  const DataType type = quantized ? DataType::kFloat : PaddedType(c);
  MP_ASSIGN_OR_RETURN(const std::string x, c.InAs(0, type));
  MP_ASSIGN_OR_RETURN(std::string fill, c.InAs(value, type));
  if (c.Rank(value) != 0) fill = c.builder().Reshape(fill, {});
  MP_ASSIGN_OR_RETURN(const std::string y, Dilated(c, x, c.Source(0).shape, gaps, low, high, fill));
  return c.Out(0, y, type);
}

absl::Status Pad(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  const auto& options = c.Options2<schema::StablehloPadOptions>();
  return Padded(c, List(options.interior_padding()), List(options.edge_padding_low()),
                List(options.edge_padding_high()), 1);
}

// Inputs: operand, factor of each axis, value between the elements.
absl::Status Dilate(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(3, 1));
  MP_ASSIGN_OR_RETURN(std::vector<int64_t> gaps, c.Ints(1));
  for (int64_t& gap : gaps) gap -= 1;
  const std::vector<int64_t> none(gaps.size(), 0);
  return Padded(c, gaps, none, none, 2);
}

// Whether a comparator of StableHLO's or TensorFlow Lite's operators puts the larger of its first two inputs first.
absl::StatusOr<bool> IsDescending(OperatorContext& c, int graph) {
  const auto& graphs = c.conversion().source.graphs;
  if (graph < 0 || static_cast<size_t>(graph) >= graphs.size())
    return c.Malformed("the graph that it names does not exist");
  const SourceGraph& body = graphs[graph];
  using schema::StablehloComparisonDirection;
  if (body.operators.size() == 1 && body.inputs.size() >= 2 && body.outputs.size() == 1 &&
      body.operators[0].outputs == body.outputs && body.operators[0].inputs.size() == 2) {
    const SourceOperator& op = body.operators[0];
    const bool forward = op.inputs[0] == body.inputs[0] && op.inputs[1] == body.inputs[1],
               backward = op.inputs[0] == body.inputs[1] && op.inputs[1] == body.inputs[0];
    const auto* compare = op.table->builtin_options_2_as_StablehloCompareOptions();
    const auto direction =
        compare == nullptr ? StablehloComparisonDirection::EQ : compare->comparison_direction();
    const bool greater =
        op.code == BuiltinOperator::GREATER || direction == StablehloComparisonDirection::GT;
    const bool less =
        op.code == BuiltinOperator::LESS || direction == StablehloComparisonDirection::LT;
    if ((forward || backward) && (greater || less)) return forward == greater;
  }
  return c.Unsupported("it sorts by something else than one comparison of its first input");
}

absl::Status Sort(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  if (c.output_count() != c.input_count())
    return c.Malformed("it has another number of outputs than of inputs");
  const auto& options = c.Options2<schema::StablehloSortOptions>();
  MP_ASSIGN_OR_RETURN(const int rank, c.KnownRank(0));
  MP_ASSIGN_OR_RETURN(const int64_t axis, c.Axis(options.dimension(), rank));
  MP_ASSIGN_OR_RETURN(const bool descending, IsDescending(c, options.comparator_subgraph_index()));
  const DataType type = c.ComputeType(c.Source(0));
  MP_ASSIGN_OR_RETURN(const std::string x, c.InAs(0, type));
  const std::string extent = c.Source(0).shape[axis] >= 0
                                 ? c.model().Int64s({c.Source(0).shape[axis]})
                                 : c.builder().Slice(c.Add("Shape", {x}), {axis}, {axis + 1}, {0});
  const Names made = c.builder().AddMany("TopK", {x, extent},
                                         {{"axis", axis}, {"largest", int64_t{descending}}}, 2);
  MP_RETURN_IF_ERROR(c.Out(0, made[0], type));
  for (int i = 1; i < c.input_count(); ++i) {
    if (!c.Has(i)) return c.Malformed("an input is missing");
    MP_ASSIGN_OR_RETURN(const std::string other, c.In(i));
    MP_RETURN_IF_ERROR(c.Out(i, c.Add("GatherElements", {other, made[1]}, {{"axis", axis}}),
                             c.RealType(c.Source(i))));
  }
  return absl::OkStatus();
}

}  // namespace

void RegisterTfliteOperators_stablehlo_shape(OperatorRegistry& registry) {
  registry.Add(BuiltinOperator::STABLEHLO_RESHAPE, Reshape);
  registry.Add(BuiltinOperator::STABLEHLO_BROADCAST_IN_DIM, BroadcastInDim);
  registry.Add(BuiltinOperator::STABLEHLO_CONCATENATE, Concatenate);
  registry.Add(BuiltinOperator::STABLEHLO_SLICE, Slice);
  registry.Add(BuiltinOperator::STABLEHLO_TRANSPOSE, Transpose);
  registry.Add(BuiltinOperator::STABLEHLO_IOTA, Iota);
  registry.Add(BuiltinOperator::STABLEHLO_DYNAMIC_SLICE, DynamicSlice);
  registry.Add(BuiltinOperator::STABLEHLO_PAD, Pad);
  registry.Add(BuiltinOperator::STABLEHLO_SORT, Sort);
  registry.Add(BuiltinOperator::DILATE, Dilate);
}

}  // namespace modelpress::tflite
