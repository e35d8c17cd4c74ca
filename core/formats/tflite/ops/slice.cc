// Parts of tensors: SLICE, STRIDED_SLICE, REVERSE_V2, DYNAMIC_UPDATE_SLICE, STABLEHLO_DYNAMIC_UPDATE_SLICE (all versions, all types; codes stay codes).
//
//   SLICE -> Slice (size -1: to the end)           REVERSE_V2 -> Slice with step -1
//   STRIDED_SLICE -> Slice over the axes that its masks leave, then Unsqueeze for new axes and Squeeze for those that
//     shrink; a single axis that shrinks and nothing else is a Gather. Begin and end may be computed.
//   DYNAMIC_UPDATE_SLICE -> ScatterND over the leading axes up to the last one that the update does not cover whole, with
//     the start held within the operand
#include <algorithm>
#include <limits>

#include "core/formats/tflite/operator.h"

namespace modelpress::tflite {
namespace {

constexpr int64_t kEnd = std::numeric_limits<int64_t>::max();
constexpr int64_t kBeforeStart = std::numeric_limits<int64_t>::min();

std::vector<int64_t> Axes(int64_t count) {
  std::vector<int64_t> axes(count);
  for (int64_t i = 0; i < count; ++i) axes[i] = i;
  return axes;
}

absl::Status Slice(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(3, 1));
  MP_ASSIGN_OR_RETURN(const int rank, c.KnownRank(0));
  MP_ASSIGN_OR_RETURN(const std::string x, c.Moved(0));
  import::ModelBuilder& model = c.model();
  if (c.IsConstant(1) && c.IsConstant(2)) {
    MP_ASSIGN_OR_RETURN(const std::vector<int64_t> begin, c.Ints(1));
    MP_ASSIGN_OR_RETURN(const std::vector<int64_t> size, c.Ints(2));
    if (begin.size() != static_cast<size_t>(rank) || size.size() != begin.size()) {
      return c.Malformed("begin and size have not one element for each axis");
    }
    std::vector<int64_t> starts, ends, axes;
    for (int64_t i = 0; i < rank; ++i) {
      const bool whole = begin[i] == 0 && (size[i] == -1 || size[i] == c.Source(0).shape[i]);
      if (whole) continue;
      starts.push_back(begin[i]);
      ends.push_back(size[i] == -1 ? kEnd : begin[i] + size[i]);
      axes.push_back(i);
    }
    return c.OutMoved(0, 0, axes.empty() ? x : c.builder().Slice(x, starts, ends, axes));
  }
  MP_ASSIGN_OR_RETURN(const std::string begin, c.Int64In(1));
  MP_ASSIGN_OR_RETURN(const std::string size, c.Int64In(2));
  std::string end = c.Add("Add", {begin, size});
  bool to_end = true;
  if (c.IsConstant(2)) {
    MP_ASSIGN_OR_RETURN(const std::vector<int64_t> sizes, c.Ints(2));
    to_end = std::ranges::contains(sizes, -1);
  }
  if (to_end)
    end = c.Add("Where", {c.Add("Equal", {size, model.Int64(-1)}), model.Int64(kEnd), end});
  return c.OutMoved(0, 0, c.Add("Slice", {x, begin, end, model.Int64s(Axes(rank))}));
}

// What the masks make of one element of begin, end and strides.
struct Item {
  size_t index = 0;  // in begin, end and strides
  int64_t axis = 0;  // of the input
  bool shrink = false, open_begin = false, open_end = false;
};

absl::Status StridedSlice(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(4, 1));
  const auto& options = c.Options<schema::StridedSliceOptions>();
  MP_ASSIGN_OR_RETURN(const int rank, c.KnownRank(0));
  MP_ASSIGN_OR_RETURN(const std::vector<int64_t> strides, c.Ints(3));
  const size_t count = strides.size();
  if (count > 31) return c.Malformed("it has too many axes");
  const auto bit = [](int mask, size_t i) { return (mask >> i & 1) != 0; };
  size_t specified = 0;
  bool has_ellipsis = false;
  for (size_t i = 0; i < count; ++i) {
    if (strides[i] == 0) return c.Malformed("a stride is 0");
    if (bit(options.ellipsis_mask(), i)) {
      if (has_ellipsis) return c.Malformed("it has more than one ellipsis");
      has_ellipsis = true;
    } else if (!bit(options.new_axis_mask(), i)) {
      ++specified;
    }
  }
  if (specified > static_cast<size_t>(rank))
    return c.Malformed("it names more axes than its input has");
  if (has_ellipsis && specified == static_cast<size_t>(rank)) {
    return c.Unsupported("its ellipsis stands for no axis, which LiteRT takes for one axis",
                         "leave the ellipsis out");
  }
  // Axes of the input, and of the output before axes shrink.
  std::vector<Item> items;
  std::vector<int64_t> new_axes, shrunk;
  int64_t axis = 0, out = 0;
  for (size_t i = 0; i < count; ++i) {
    if (bit(options.ellipsis_mask(), i)) {
      axis += rank - static_cast<int64_t>(specified);
      out += rank - static_cast<int64_t>(specified);
      continue;
    }
    if (bit(options.new_axis_mask(), i)) {
      new_axes.push_back(out++);
      continue;
    }
    Item item{i, axis++, bit(options.shrink_axis_mask(), i), bit(options.begin_mask(), i),
              bit(options.end_mask(), i)};
    if (item.shrink) {
      if (strides[i] < 0) return c.Unsupported("an axis shrinks with a negative stride");
      shrunk.push_back(out);
    }
    ++out;
    items.push_back(item);
  }
  MP_ASSIGN_OR_RETURN(std::string x, c.Moved(0));
  import::ModelBuilder& model = c.model();
  if (c.IsConstant(1) && c.IsConstant(2)) {
    MP_ASSIGN_OR_RETURN(const std::vector<int64_t> begin, c.Ints(1));
    MP_ASSIGN_OR_RETURN(const std::vector<int64_t> end, c.Ints(2));
    if (begin.size() != count || end.size() != count)
      return c.Malformed("begin, end and strides differ in length");
    std::vector<int64_t> starts, ends, axes, steps;
    for (const Item& item : items) {
      const int64_t first = begin[item.index], step = strides[item.index];
      const int64_t last = options.offset() ? first + end[item.index] : end[item.index];
      const int64_t extent = c.Source(0).shape[item.axis];
      if (item.shrink) {
        const int64_t place = item.open_begin ? 0 : first;
        if (items.size() == 1 && new_axes.empty()) {
          return c.OutMoved(0, 0, c.Add("Gather", {x, model.Int64(place)}, {{"axis", item.axis}}));
        }
        starts.push_back(place);
        ends.push_back(place == -1 ? kEnd : place + 1);
        axes.push_back(item.axis);
        steps.push_back(1);
        continue;
      }
      const bool from_start = step > 0 && (item.open_begin || first == 0);
      const bool to_end = step > 0 && (item.open_end || (extent >= 0 && last >= extent));
      if (step == 1 && from_start && to_end) continue;
      starts.push_back(item.open_begin ? (step > 0 ? 0 : kEnd) : first);
      ends.push_back(item.open_end ? (step > 0 ? kEnd : kBeforeStart) : last);
      axes.push_back(item.axis);
      steps.push_back(step);
    }
    // One axis that shrinks among whole ones.
    if (axes.size() == 1 && shrunk.size() == 1 && new_axes.empty()) {
      return c.OutMoved(0, 0, c.Add("Gather", {x, model.Int64(starts[0])}, {{"axis", axes[0]}}));
    }
    if (!axes.empty()) x = c.builder().Slice(x, starts, ends, axes, steps);
  } else {
    // In the type that both have, as Slice takes either.
    const bool narrow =
        c.Source(1).type == TensorType::INT32 && c.Source(2).type == TensorType::INT32;
    const DataType type = narrow ? DataType::kInt32 : DataType::kInt64;
    const auto ints = [&](const std::vector<int64_t>& values) {
      if (!narrow) return model.Int64s(values);
      std::vector<int32_t> held;
      for (const int64_t value : values) {
        held.push_back(static_cast<int32_t>(std::clamp<int64_t>(
            value, std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max())));
      }
      const int64_t length = static_cast<int64_t>(held.size());
      return model.Constant(type, std::span(&length, 1), std::as_bytes(std::span(held)));
    };
    MP_ASSIGN_OR_RETURN(std::string begin, c.InAs(1, type));
    MP_ASSIGN_OR_RETURN(std::string end, c.InAs(2, type));
    if (options.offset()) end = c.Add("Add", {begin, end});
    std::vector<int64_t> axes, steps, starts_open, ends_open, picked;
    std::vector<uint8_t> open_begin, open_end, shrink;
    bool any_begin = false, any_end = false, any_shrink = false;
    for (const Item& item : items) {
      const int64_t step = strides[item.index];
      picked.push_back(static_cast<int64_t>(item.index));
      axes.push_back(item.axis);
      steps.push_back(item.shrink ? 1 : step);
      starts_open.push_back(item.shrink || step > 0 ? 0 : kEnd);
      ends_open.push_back(step > 0 ? kEnd : kBeforeStart);
      open_begin.push_back(item.open_begin);
      open_end.push_back(item.open_end && !item.shrink);
      shrink.push_back(item.shrink);
      any_begin |= item.open_begin;
      any_end |= item.open_end && !item.shrink;
      any_shrink |= item.shrink;
    }
    if (items.size() != count) {
      begin = c.Add("Gather", {begin, model.Int64s(picked)});
      end = c.Add("Gather", {end, model.Int64s(picked)});
    }
    const int64_t length = static_cast<int64_t>(items.size());
    const auto flags = [&](const std::vector<uint8_t>& list) {
      return model.Constant(DataType::kBool, std::span(&length, 1), std::as_bytes(std::span(list)));
    };
    if (any_begin) begin = c.Add("Where", {flags(open_begin), ints(starts_open), begin});
    if (any_shrink) {
      const std::string next = c.Add("Add", {begin, model.ScalarOf(type, 1)});
      const std::string is_last = c.Add("Equal", {begin, model.ScalarOf(type, -1)});
      const std::string bound = c.Add(
          "Where",
          {is_last, narrow ? model.Int32(std::numeric_limits<int32_t>::max()) : model.Int64(kEnd),
           next});
      const bool all = std::ranges::all_of(shrink, [](uint8_t flag) { return flag != 0; });
      end = all ? bound : c.Add("Where", {flags(shrink), bound, end});
    }
    if (any_end) end = c.Add("Where", {flags(open_end), ints(ends_open), end});
    Names inputs = {x, begin, end, ints(axes)};
    if (std::ranges::any_of(steps, [](int64_t step) { return step != 1; }))
      inputs.push_back(ints(steps));
    x = c.Add("Slice", std::move(inputs));
  }
  if (!new_axes.empty()) x = c.Add("Unsqueeze", {x, model.Int64s(new_axes)});
  if (!shrunk.empty()) x = c.Add("Squeeze", {x, model.Int64s(shrunk)});
  return c.OutMoved(0, 0, x);
}

absl::Status Reverse(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  MP_ASSIGN_OR_RETURN(const std::vector<int64_t> axes, c.Ints(1));
  MP_ASSIGN_OR_RETURN(const std::string x, c.Moved(0));
  if (axes.empty()) return c.OutMoved(0, 0, x);
  const size_t count = axes.size();
  return c.OutMoved(0, 0,
                    c.builder().Slice(x, std::vector<int64_t>(count, kEnd),
                                      std::vector<int64_t>(count, kBeforeStart), axes,
                                      std::vector<int64_t>(count, -1)));
}

absl::Status UpdateSlice(OperatorContext& c, std::string start) {
  const SourceTensor &operand = c.Source(0), &update = c.Source(1);
  if (!operand.is_static() || !update.is_static() || operand.shape.size() != update.shape.size()) {
    return c.Unsupported("its shapes are not known", "export the model with fixed shapes");
  }
  MP_ASSIGN_OR_RETURN(const std::string x, c.Moved(0));
  std::string part;
  if (c.MovesCodes(0) && SameCodes(operand, update)) {
    MP_ASSIGN_OR_RETURN(part, c.Raw(1));
  } else if (!IsQuantized(operand)) {
    MP_ASSIGN_OR_RETURN(part, c.In(1));
  } else {
    return c.Unsupported("its operand and update have different scales");
  }
  size_t depth = 0;
  for (size_t i = 0; i < operand.shape.size(); ++i) {
    if (update.shape[i] > operand.shape[i])
      return c.Malformed("its update is larger than its operand");
    if (update.shape[i] != operand.shape[i]) depth = i + 1;
  }
  if (depth == 0) return c.OutMoved(0, 0, part);
  // Indices of the update's elements, or rows, counted from its start.
  std::vector<int64_t> dims(update.shape.begin(),
                            update.shape.begin() + static_cast<int64_t>(depth)),
      limits;
  int64_t rows = 1;
  for (size_t i = 0; i < depth; ++i) {
    MP_RETURN_IF_ERROR(c.Limit(rows, dims[i]));
    rows *= dims[i];
    limits.push_back(operand.shape[i] - update.shape[i]);
  }
  MP_RETURN_IF_ERROR(c.Limit(rows, static_cast<int64_t>(depth)));
  std::vector<int64_t> indices(rows * static_cast<int64_t>(depth));
  for (int64_t row = 0; row < rows; ++row) {
    int64_t rest = row;
    for (size_t i = depth; i-- > 0; rest /= dims[i])
      indices[row * static_cast<int64_t>(depth) + i] = rest % dims[i];
  }
  dims.push_back(static_cast<int64_t>(depth));
  import::ModelBuilder& model = c.model();
  const std::string grid =
      model.Constant(DataType::kInt64, dims, std::as_bytes(std::span(indices)));
  if (depth < operand.shape.size())
    start = c.builder().Slice(start, {0}, {static_cast<int64_t>(depth)}, {0});
  start = c.Add("Max", {c.Add("Min", {start, model.Int64s(limits)}), model.Int64(0)});
  return c.OutMoved(0, 0, c.Add("ScatterND", {x, c.Add("Add", {grid, start}), part}));
}

absl::Status DynamicUpdateSlice(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(3, 1));
  MP_ASSIGN_OR_RETURN(const std::string start, c.Int64In(2));
  return UpdateSlice(c, start);
}

// The start of each axis is a scalar of its own.
absl::Status StablehloDynamicUpdateSlice(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  if (c.input_count() == 2) {  // a scalar becomes another one
    MP_ASSIGN_OR_RETURN(const std::string part, c.Moved(1));
    return c.OutMoved(1, 0, part);
  }
  if (c.input_count() != 2 + static_cast<int>(c.Source(0).shape.size()))
    return c.Malformed("it has not one start for each axis");
  Names starts;
  for (int i = 2; i < c.input_count(); ++i) {
    if (!c.Has(i)) return c.Malformed("a start is missing");
    MP_ASSIGN_OR_RETURN(const std::string start, c.Int64In(i));
    starts.push_back(c.builder().Reshape(start, {1}));
  }
  return UpdateSlice(c, starts.size() == 1
                            ? starts[0]
                            : c.Add("Concat", std::move(starts), {{"axis", int64_t{0}}}));
}

}  // namespace

void RegisterTfliteOperators_slice(OperatorRegistry& registry) {
  registry.Add(BuiltinOperator::SLICE, Slice);
  registry.Add(BuiltinOperator::STRIDED_SLICE, StridedSlice);
  registry.Add(BuiltinOperator::REVERSE_V2, Reverse);
  registry.Add(BuiltinOperator::DYNAMIC_UPDATE_SLICE, DynamicUpdateSlice);
  registry.Add(BuiltinOperator::STABLEHLO_DYNAMIC_UPDATE_SLICE, StablehloDynamicUpdateSlice);
}

}  // namespace modelpress::tflite
