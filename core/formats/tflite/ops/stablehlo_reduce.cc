// StableHLO's reductions and products: STABLEHLO_REDUCE, STABLEHLO_REDUCE_WINDOW, REDUCE_WINDOW, STABLEHLO_DOT_GENERAL,
// STABLEHLO_CONVOLUTION (version 1; float32, integers, bool).
//
//   REDUCE with one operator for its graph -> ReduceSum, ReduceProd, ReduceMax, ReduceMin, then the initial value
//   REDUCE_WINDOW -> Pad with the initial value; on each axis with a window a Gather of all its places and that reduction
//   DOT_GENERAL -> Transposes and Reshapes to [batch, free, contracted], MatMul, Reshape
//   CONVOLUTION -> Transposes to ONNX's layout, Conv, Transpose
#include <algorithm>
#include <numeric>

#include "core/formats/tflite/stablehlo.h"

namespace modelpress::tflite {
namespace {

struct Reducer {
  const char* reduce = "";
  const char* combine = "";
  double neutral = 0;
  bool has_neutral = false;  // `neutral` is the neutral element of every type
};

absl::StatusOr<Reducer> ReducerOf(OperatorContext& c, std::string_view combination) {
  if (combination == "Add") return Reducer{"ReduceSum", "Add", 0, true};
  if (combination == "Mul") return Reducer{"ReduceProd", "Mul", 1, true};
  // Truth values are computed as 0 and 1.
  if (combination == "Max" || combination == "Or") return Reducer{"ReduceMax", "Max"};
  if (combination == "Min" || combination == "And") return Reducer{"ReduceMin", "Min"};
  return c.Unsupported("it keeps one element only");
}

DataType ReducedType(const OperatorContext& c) {
  return c.Source(0).type == TensorType::BOOL ? DataType::kInt32 : c.ComputeType(c.Source(0));
}

// The initial value joins in, unless it is a constant that changes nothing.
absl::StatusOr<std::string> WithInitial(OperatorContext& c, const Reducer& reducer,
                                        const std::string& y, const std::string& initial) {
  if (c.IsConstant(1) && reducer.has_neutral) {
    if (c.Source(1).type == TensorType::FLOAT32) {
      MP_ASSIGN_OR_RETURN(const std::vector<float> values, c.Floats(1));
      if (values.size() == 1 && values[0] == reducer.neutral) return y;
    } else if (!IsQuantized(c.Source(1)) &&
               (c.Source(1).type == TensorType::INT32 || c.Source(1).type == TensorType::INT64)) {
      MP_ASSIGN_OR_RETURN(const std::vector<int64_t> values, c.Ints(1));
      if (values.size() == 1 && static_cast<double>(values[0]) == reducer.neutral) return y;
    }
  }
  return c.Add(reducer.combine, {y, initial});
}

absl::Status Reduce(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  if (c.input_count() != 2) return c.Unsupported("it reduces more than one tensor at a time");
  const auto& options = c.Options2<schema::StablehloReduceOptions>();
  MP_ASSIGN_OR_RETURN(const int rank, c.KnownRank(0));
  const std::vector<int64_t> axes = List(options.dimensions());
  if (!AreAxes(axes, rank)) return c.Malformed("its axes are not valid");
  MP_ASSIGN_OR_RETURN(const std::string_view combination,
                      Combination(c, options.body_subgraph_index()));
  MP_ASSIGN_OR_RETURN(const Reducer reducer, ReducerOf(c, combination));
  const DataType type = ReducedType(c);
  MP_ASSIGN_OR_RETURN(const std::string x, c.InAs(0, type));
  MP_ASSIGN_OR_RETURN(const std::string initial, c.InAs(1, type));
  std::string y = x;
  if (!axes.empty())
    y = c.Add(reducer.reduce, {x, c.model().Int64s(axes)}, {{"keepdims", int64_t{0}}});
  MP_ASSIGN_OR_RETURN(y, WithInitial(c, reducer, y, initial));
  return c.Out(0, y, type);
}

struct Windows {
  std::vector<int64_t> size, stride, gap_between, dilation, low, high;
};

absl::Status SlideWindows(OperatorContext& c, std::string_view combination,
                          const Windows& windows) {
  MP_ASSIGN_OR_RETURN(const Reducer reducer, ReducerOf(c, combination));
  const size_t rank = c.Source(0).shape.size();
  if (!c.Source(0).is_static() || !c.Source(0).has_shape)
    return c.Unsupported("the shape of its input is not known");
  for (const auto* list : {&windows.size, &windows.stride, &windows.dilation, &windows.gap_between,
                           &windows.low, &windows.high}) {
    if (list->size() != rank) return c.Malformed("its windows are not one for each axis");
  }
  const DataType type = ReducedType(c);
  MP_ASSIGN_OR_RETURN(const std::string x, c.InAs(0, type));
  MP_ASSIGN_OR_RETURN(std::string initial, c.InAs(1, type));
  if (c.Rank(1) != 0) initial = c.builder().Reshape(initial, {});
  MP_ASSIGN_OR_RETURN(std::string y, Dilated(c, x, c.Source(0).shape, windows.gap_between,
                                             windows.low, windows.high, initial));
  for (size_t i = 0; i < rank; ++i) {
    const int64_t extent = (c.Source(0).shape[i] - 1) * (windows.gap_between[i] + 1) + 1 +
                           windows.low[i] + windows.high[i];
    const int64_t size = windows.size[i], stride = windows.stride[i], step = windows.dilation[i];
    if (size < 1 || stride < 1 || step < 1 || size > extent || step > extent ||
        (size - 1) * step >= extent) {
      return c.Malformed("a window is not valid, or larger than what it slides over");
    }
    const int64_t count = (extent - (size - 1) * step - 1) / stride + 1;
    const int64_t axis = static_cast<int64_t>(i);
    if (size == 1) {
      if (stride > 1) y = c.builder().Slice(y, {0}, {extent}, {axis}, {stride});
      continue;
    }
    MP_RETURN_IF_ERROR(c.Limit(count, size));
    std::vector<int64_t> places(count * size);
    for (int64_t at = 0; at < count * size; ++at)
      places[at] = at / size * stride + at % size * step;
    const int64_t dims[] = {count, size};
    const std::string indices =
        c.model().Constant(DataType::kInt64, dims, std::as_bytes(std::span(places)));
    y = c.Add("Gather", {y, indices}, {{"axis", axis}});
    y = c.Add(reducer.reduce, {y, c.model().Int64s({axis + 1})}, {{"keepdims", int64_t{0}}});
  }
  MP_ASSIGN_OR_RETURN(y, WithInitial(c, reducer, y, initial));
  return c.Out(0, y, type);
}

absl::Status StablehloReduceWindow(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  if (c.input_count() != 2) return c.Unsupported("it reduces more than one tensor at a time");
  const auto& options = c.Options2<schema::StablehloReduceWindowOptions>();
  MP_ASSIGN_OR_RETURN(const int rank, c.KnownRank(0));
  const auto or_all = [rank](std::vector<int64_t> list, int64_t value) {
    return list.empty() ? std::vector<int64_t>(rank, value) : list;
  };
  Windows windows;
  windows.size = List(options.window_dimensions());
  windows.stride = or_all(List(options.window_strides()), 1);
  windows.dilation = or_all(List(options.window_dilations()), 1);
  windows.gap_between = or_all(List(options.base_dilations()), 1);
  for (int64_t& gap : windows.gap_between) gap -= 1;
  const std::vector<int64_t> padding = List(options.padding());
  if (!padding.empty() && padding.size() != 2 * static_cast<size_t>(rank))
    return c.Malformed("its paddings are not two for each axis");
  for (int i = 0; i < rank; ++i) {
    windows.low.push_back(padding.empty() ? 0 : padding[2 * i]);
    windows.high.push_back(padding.empty() ? 0 : padding[2 * i + 1]);
  }
  MP_ASSIGN_OR_RETURN(const std::string_view combination,
                      Combination(c, options.body_subgraph_index()));
  return SlideWindows(c, combination, windows);
}

// Inputs: operand, initial value, extents, strides and dilations of the window.
absl::Status ReduceWindow(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(5, 1));
  MP_ASSIGN_OR_RETURN(const int rank, c.KnownRank(0));
  Windows windows;
  MP_ASSIGN_OR_RETURN(windows.size, c.Ints(2));
  MP_ASSIGN_OR_RETURN(windows.stride, c.Ints(3));
  MP_ASSIGN_OR_RETURN(windows.dilation, c.Ints(4));
  windows.gap_between.assign(rank, 0);
  windows.low.assign(rank, 0);
  windows.high.assign(rank, 0);
  using schema::ReduceWindowFunction;
  std::string_view combination;
  switch (c.Options2<schema::ReduceWindowOptions>().reduce_function()) {
    case ReduceWindowFunction::ADD:
      combination = "Add";
      break;
    case ReduceWindowFunction::MUL:
      combination = "Mul";
      break;
    case ReduceWindowFunction::MINIMUM:
      combination = "Min";
      break;
    case ReduceWindowFunction::MAXIMUM:
      combination = "Max";
      break;
    case ReduceWindowFunction::ALL:
      combination = "And";
      break;
    case ReduceWindowFunction::ANY:
      combination = "Or";
      break;
    default:
      return c.Unsupported("its function is not known");
  }
  return SlideWindows(c, combination, windows);
}

// Axes of one side of a product, in the order in which MatMul takes them.
struct Side {
  std::vector<int64_t> perm, free;  // free: extents
  int64_t contracted = 1, rest = 1;
};

absl::StatusOr<Side> SideOf(OperatorContext& c, int input, const std::vector<int64_t>& batch,
                            const std::vector<int64_t>& contracted, bool contracted_last) {
  const std::vector<int64_t>& shape = c.Source(input).shape;
  if (!c.Source(input).is_static()) return c.Unsupported("the shapes of its inputs are not known");
  MP_RETURN_IF_ERROR(ElementCount(shape).status());  // products of extents below do not overflow
  std::vector<int64_t> used = batch;
  used.insert(used.end(), contracted.begin(), contracted.end());
  if (!AreAxes(used, static_cast<int64_t>(shape.size())))
    return c.Malformed("its axes are not valid");
  Side side;
  std::vector<int64_t> free;
  for (int64_t i = 0; i < static_cast<int64_t>(shape.size()); ++i) {
    if (!std::ranges::contains(used, i)) free.push_back(i);
  }
  side.perm = batch;
  const auto append = [&](const std::vector<int64_t>& axes) {
    side.perm.insert(side.perm.end(), axes.begin(), axes.end());
  };
  append(contracted_last ? free : contracted);
  append(contracted_last ? contracted : free);
  for (const int64_t axis : free) {
    side.free.push_back(shape[axis]);
    side.rest *= shape[axis];
  }
  for (const int64_t axis : contracted) side.contracted *= shape[axis];
  return side;
}

absl::Status DotGeneral(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  const auto& options = c.Options2<schema::StablehloDotGeneralOptions>();
  const std::vector<int64_t> batch = List(options.lhs_batching_dimensions());
  MP_ASSIGN_OR_RETURN(const Side left,
                      SideOf(c, 0, batch, List(options.lhs_contracting_dimensions()),
                             /*contracted_last=*/true));
  MP_ASSIGN_OR_RETURN(const Side right, SideOf(c, 1, List(options.rhs_batching_dimensions()),
                                               List(options.rhs_contracting_dimensions()),
                                               /*contracted_last=*/false));
  if (left.contracted != right.contracted || c.RealType(c.Source(0)) != c.RealType(c.Source(1)))
    return c.Malformed("its inputs do not fit together");
  std::vector<int64_t> outer;
  for (const int64_t axis : batch) outer.push_back(c.Source(0).shape[axis]);
  MP_ASSIGN_OR_RETURN(std::string a, c.scope().Permuted(c.op().inputs[0], left.perm));
  MP_ASSIGN_OR_RETURN(std::string b, c.scope().Permuted(c.op().inputs[1], right.perm));
  std::vector<int64_t> shape = outer;
  shape.insert(shape.end(), {left.rest, left.contracted});
  if (c.Source(0).shape.size() != shape.size() || left.free.size() != 1)
    a = c.builder().Reshape(a, shape);
  shape = outer;
  shape.insert(shape.end(), {right.contracted, right.rest});
  if (c.Source(1).shape.size() != shape.size() || right.free.size() != 1)
    b = c.builder().Reshape(b, shape);
  std::string y = c.Add("MatMul", {a, b});
  if (left.free.size() != 1 || right.free.size() != 1) {
    shape = outer;
    shape.insert(shape.end(), left.free.begin(), left.free.end());
    shape.insert(shape.end(), right.free.begin(), right.free.end());
    y = c.builder().Reshape(y, shape);
  }
  return c.Out(0, y, c.RealType(c.Source(0)));
}

std::vector<int64_t> Layout(int64_t first, int64_t second, const std::vector<int64_t>& spatial) {
  std::vector<int64_t> axes = {first, second};
  axes.insert(axes.end(), spatial.begin(), spatial.end());
  return axes;
}

absl::Status Convolution(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  const auto& options = c.Options2<schema::StablehloConvolutionOptions>();
  if (!c.Source(0).is_static() || !c.Source(1).is_static() || c.Rank(0) < 3)
    return c.Unsupported("the shapes of its inputs are not known, or have no window");
  const size_t spatial = static_cast<size_t>(c.Rank(0) - 2);
  const auto or_all = [spatial](std::vector<int64_t> list, int64_t value) {
    return list.empty() ? std::vector<int64_t>(spatial, value) : list;
  };
  const std::vector<int64_t> in =
      Layout(options.input_batch_dimension(), options.input_feature_dimension(),
             List(options.input_spatial_dimensions()));
  const std::vector<int64_t> kernel =
      Layout(options.kernel_output_feature_dimension(), options.kernel_input_feature_dimension(),
             List(options.kernel_spatial_dimensions()));
  const std::vector<int64_t> out =
      Layout(options.output_batch_dimension(), options.output_feature_dimension(),
             List(options.output_spatial_dimensions()));
  const int64_t rank = c.Rank(0);
  for (const auto* axes : {&in, &kernel, &out}) {
    if (static_cast<int64_t>(axes->size()) != rank || !AreAxes(*axes, rank))
      return c.Malformed("its axes are not valid");
  }
  const std::vector<int64_t> strides = or_all(List(options.window_strides()), 1),
                             dilations = or_all(List(options.rhs_dilation()), 1),
                             base = or_all(List(options.lhs_dilation()), 1);
  std::vector<int64_t> padding = or_all(List(options.padding()), 0);
  if (List(options.padding()).empty()) padding.assign(2 * spatial, 0);
  const auto below = [](int64_t least) { return [least](int64_t value) { return value < least; }; };
  if (c.Rank(1) != rank || strides.size() != spatial || dilations.size() != spatial ||
      base.size() != spatial || padding.size() != 2 * spatial ||
      std::ranges::any_of(strides, below(1)) || std::ranges::any_of(dilations, below(1)) ||
      std::ranges::any_of(base, below(1)) || options.feature_group_count() < 1) {
    return c.Malformed("its windows are not valid");
  }
  const std::vector<int64_t> reversal = List(options.window_reversal());
  if (options.batch_group_count() != 1 || std::ranges::contains(reversal, 1) ||
      std::ranges::any_of(padding, below(0))) {
    return c.Unsupported("it reverses its window, groups its batch or pads less than nothing");
  }
  MP_ASSIGN_OR_RETURN(std::string x, c.scope().Permuted(c.op().inputs[0], in));
  MP_ASSIGN_OR_RETURN(const std::string w, c.scope().Permuted(c.op().inputs[1], kernel));
  if (std::ranges::any_of(base, [](int64_t step) { return step > 1; })) {
    std::vector<int64_t> shape, gaps = {0, 0};
    for (const int64_t axis : in) shape.push_back(c.Source(0).shape[axis]);
    for (const int64_t step : base) gaps.push_back(step - 1);
    const std::vector<int64_t> none(shape.size(), 0);
    MP_ASSIGN_OR_RETURN(x, Dilated(c, x, shape, gaps, none, none, c.model().Float(0)));
  }
  std::vector<int64_t> pads;
  for (size_t side = 0; side < 2; ++side) {
    for (size_t i = 0; i < spatial; ++i) pads.push_back(padding[2 * i + side]);
  }
  const std::string y = c.Add("Conv", {x, w},
                              {{"strides", strides},
                               {"dilations", dilations},
                               {"pads", pads},
                               {"group", int64_t{options.feature_group_count()}}});
  std::vector<int64_t> back(out.size());
  for (size_t i = 0; i < out.size(); ++i) back[out[i]] = static_cast<int64_t>(i);
  return c.Out(0, c.builder().Transpose(y, back));
}

}  // namespace

void RegisterTfliteOperators_stablehlo_reduce(OperatorRegistry& registry) {
  registry.Add(BuiltinOperator::STABLEHLO_REDUCE, Reduce);
  registry.Add(BuiltinOperator::STABLEHLO_REDUCE_WINDOW, StablehloReduceWindow);
  registry.Add(BuiltinOperator::REDUCE_WINDOW, ReduceWindow);
  registry.Add(BuiltinOperator::STABLEHLO_DOT_GENERAL, DotGeneral);
  registry.Add(BuiltinOperator::STABLEHLO_CONVOLUTION, Convolution);
}

}  // namespace modelpress::tflite
