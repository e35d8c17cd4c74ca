// Joining and cutting apart: CONCATENATION, PACK, UNPACK, SPLIT, SPLIT_V (all versions, all types; codes stay codes where
// all sides have the same).
//
//   CONCATENATION -> Concat, fused activation; list[:i], value, list[i + 1:] -> ScatterND       PACK -> Unsqueeze each, Concat       UNPACK -> a Gather for each
//   SPLIT, SPLIT_V -> Split
#include <algorithm>

#include "core/formats/tflite/operator.h"

namespace modelpress::tflite {
namespace {

bool AllMoveCodes(OperatorContext& c) {
  for (int i = 0; i < c.input_count(); ++i) {
    if (!c.Has(i) || !c.MovesCodes(i)) return false;
  }
  return true;
}

absl::StatusOr<Names> Parts(OperatorContext& c, bool codes) {
  Names parts;
  for (int i = 0; i < c.input_count(); ++i) {
    if (!c.Has(i)) return c.Malformed("an input is missing");
    if (codes) {
      MP_ASSIGN_OR_RETURN(parts.emplace_back(), c.Raw(i));
    } else {
      MP_ASSIGN_OR_RETURN(parts.emplace_back(), c.In(i));
    }
  }
  return parts;
}

DataType PartType(const OperatorContext& c) { return c.RealType(c.Source(0)); }

bool AllAre(const absl::StatusOr<std::vector<int64_t>>& values, int64_t value) {
  return values.ok() &&
         std::ranges::all_of(*values, [value](int64_t other) { return other == value; });
}

// The scalar i of a vector (i, filler, filler, ...); -1 if it is none.
int LeadingScalar(OperatorContext& c, int tensor, int64_t filler) {
  const SourceOperator* join = c.scope().MakerOf(tensor);
  if (join == nullptr || join->code != BuiltinOperator::CONCATENATION || join->inputs.size() != 2)
    return -1;
  const OperatorContext parts(&c.scope(), join);
  const SourceOperator* first = join->inputs[0] < 0 ? nullptr : c.scope().MakerOf(join->inputs[0]);
  if (first == nullptr || first->code != BuiltinOperator::RESHAPE || first->inputs.empty() ||
      first->inputs[0] < 0 || !AllAre(parts.Ints(1), filler)) {
    return -1;
  }
  const SourceTensor& scalar = c.scope().Tensor(first->inputs[0]);
  return scalar.has_shape && scalar.shape.empty() ? first->inputs[0] : -1;
}

// The tensor number of i, if this is list[:i], a value, list[i + 1:], as which TensorFlow's lists are written to; else -1.
int ListIndex(OperatorContext& c) {
  if (c.input_count() != 3 || !c.Has(0) || !c.Has(1) || !c.Has(2)) return -1;
  const SourceOperator *head = c.scope().MakerOf(c.op().inputs[0]),
                       *tail = c.scope().MakerOf(c.op().inputs[2]);
  for (const SourceOperator* side : {head, tail}) {
    if (side == nullptr || side->code != BuiltinOperator::SLICE || side->inputs.size() != 3 ||
        std::ranges::contains(side->inputs, -1) || side->inputs[0] != head->inputs[0])
      return -1;
  }
  const SourceTensor &list = c.scope().Tensor(head->inputs[0]), &value = c.Source(1);
  if (!list.is_static() || !list.has_shape || list.shape.empty() ||
      list.shape != c.Target().shape || IsQuantized(list) || list.type != value.type ||
      list.type != c.Target().type)
    return -1;
  std::vector<int64_t> element = list.shape;
  element[0] = 1;
  const OperatorContext before(&c.scope(), head), behind(&c.scope(), tail);
  if (value.shape != element || !AllAre(before.Ints(1), 0) || !AllAre(behind.Ints(2), -1))
    return -1;
  const int index = LeadingScalar(c, head->inputs[2], -1),
            next = LeadingScalar(c, tail->inputs[1], 0);
  const SourceOperator* add = next < 0 || index < 0 ? nullptr : c.scope().MakerOf(next);
  if (add == nullptr || add->code != BuiltinOperator::ADD || add->inputs.size() != 2) return -1;
  const OperatorContext sum(&c.scope(), add);
  for (int i = 0; i < 2; ++i) {
    if (add->inputs[i] == index && sum.IsConstant(1 - i) && AllAre(sum.Ints(1 - i), 1))
      return index;
  }
  return -1;
}

absl::Status Concatenation(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  const auto& options = c.Options<schema::ConcatenationOptions>();
  if (const int index = options.axis() == 0 ? ListIndex(c) : -1; index >= 0) {
    const int list = c.scope().MakerOf(c.op().inputs[0])->inputs[0];
    MP_ASSIGN_OR_RETURN(const std::string x, c.scope().Raw(list));
    MP_ASSIGN_OR_RETURN(const std::string i, c.scope().Raw(index));
    MP_ASSIGN_OR_RETURN(const std::string value, c.Raw(1));
    const std::string place = c.builder().Reshape(c.builder().Cast(i, DataType::kInt64), {1, 1});
    return c.OutRaw(0, c.Add("ScatterND", {x, place, value}));
  }
  const bool codes = AllMoveCodes(c) &&
                     options.fused_activation_function() == schema::ActivationFunctionType::NONE;
  MP_ASSIGN_OR_RETURN(Names parts, Parts(c, codes));
  int64_t axis = options.axis();
  int rank = -1;
  for (int i = 0; i < c.input_count(); ++i) rank = std::max(rank, c.Rank(i));
  if (rank >= 0) {
    MP_ASSIGN_OR_RETURN(axis, c.Axis(axis, rank));
  }
  std::string y =
      parts.size() == 1 ? parts[0] : c.Add("Concat", std::move(parts), {{"axis", axis}});
  if (codes) return c.OutRaw(0, y);
  if (PartType(c) != DataType::kFloat) return c.Out(0, y, PartType(c));
  MP_ASSIGN_OR_RETURN(y, c.Activate(y, options.fused_activation_function()));
  return c.Out(0, y);
}

absl::Status Pack(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  const bool codes = AllMoveCodes(c);
  MP_ASSIGN_OR_RETURN(Names parts, Parts(c, codes));
  int64_t axis = c.Options<schema::PackOptions>().axis();
  int rank = -1;
  for (int i = 0; i < c.input_count(); ++i) rank = std::max(rank, c.Rank(i));
  if (axis < 0) {
    if (rank < 0) return c.Unsupported("the rank of its inputs is not known");
    MP_ASSIGN_OR_RETURN(axis, c.Axis(axis, rank + 1));
  }
  const std::string axes = c.model().Int64s({axis});
  for (int i = 0; i < c.input_count(); ++i) {
    const SourceTensor& source = c.Source(i);
    // Constants get their axis here.
    if (source.constant && !IsQuantized(source) && source.sparsity == nullptr &&
        source.data.length <= kInlineBytes && axis <= static_cast<int64_t>(source.shape.size())) {
      std::vector<int64_t> dims = source.shape;
      dims.insert(dims.begin() + axis, 1);
      parts[i] = c.model().Constant(ToOnnxType(source.type), dims, source.data.bytes());
    } else if (axis != 0 || c.Rank(i) != 0 || c.scope().OnlyReadFrom(c.op().inputs[i]) == nullptr ||
               !c.builder().KeepGatheredAxis(parts[i])) {
      parts[i] = c.Add("Unsqueeze", {parts[i], axes});
    }
  }
  const std::string y =
      parts.size() == 1 ? parts[0] : c.Add("Concat", std::move(parts), {{"axis", axis}});
  return codes ? c.OutRaw(0, y) : c.Out(0, y, PartType(c));
}

absl::Status Unpack(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  MP_ASSIGN_OR_RETURN(const std::string x, c.Moved(0));
  int64_t axis = c.Options<schema::UnpackOptions>().axis();
  if (c.Rank(0) >= 0) {
    MP_ASSIGN_OR_RETURN(axis, c.Axis(axis, c.Rank(0)));
  }
  for (int o = 0; o < c.output_count(); ++o) {
    const std::string part = c.Add("Gather", {x, c.model().Int64(o)}, {{"axis", axis}});
    MP_RETURN_IF_ERROR(c.OutMoved(0, o, part));
  }
  return absl::OkStatus();
}

absl::Status Cut(OperatorContext& c, int input, int64_t axis, std::string sizes) {
  MP_ASSIGN_OR_RETURN(const std::string x, c.Moved(input));
  if (c.output_count() == 1) return c.OutMoved(input, 0, x);
  const bool equal = sizes.empty();
  const Names parts = c.builder().AddMany(
      "Split", {x, std::move(sizes)},
      equal ? Attributes{{"axis", axis}, {"num_outputs", int64_t{c.output_count()}}}
            : Attributes{{"axis", axis}},
      c.output_count());
  for (int o = 0; o < c.output_count(); ++o) MP_RETURN_IF_ERROR(c.OutMoved(input, o, parts[o]));
  return absl::OkStatus();
}

absl::StatusOr<int64_t> AxisInput(OperatorContext& c, int i, int input) {
  MP_ASSIGN_OR_RETURN(const std::vector<int64_t> axis, c.Ints(i));
  if (axis.size() != 1) return c.Malformed("it has more than one axis");
  return c.Rank(input) < 0 ? absl::StatusOr<int64_t>(axis[0]) : c.Axis(axis[0], c.Rank(input));
}

absl::Status Split(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  MP_ASSIGN_OR_RETURN(const int64_t axis, AxisInput(c, 0, 1));
  if (c.Rank(1) > axis && axis >= 0 && c.Source(1).shape[axis] > 0 &&
      c.Source(1).shape[axis] % c.output_count() != 0) {
    return c.Malformed("its parts are not of equal size");
  }
  return Cut(c, 1, axis, "");
}

absl::Status SplitV(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(3, 1));
  MP_ASSIGN_OR_RETURN(const int64_t axis, AxisInput(c, 2, 0));
  std::vector<int64_t> sizes;
  if (!c.IsConstant(1)) {
    MP_ASSIGN_OR_RETURN(const std::string computed, c.Int64In(1));
    return Cut(c, 0, axis, computed);
  }
  MP_ASSIGN_OR_RETURN(sizes, c.Ints(1));
  if (static_cast<int>(sizes.size()) != c.output_count())
    return c.Malformed("it has another number of sizes");
  // -1 takes what the others leave.
  for (size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i] != -1) continue;
    if (c.Rank(0) <= axis || axis < 0 || c.Source(0).shape[axis] < 0) {
      return c.Unsupported("the size of a part is not known");
    }
    int64_t others = 0;
    for (size_t k = 0; k < sizes.size(); ++k) others += k == i ? 0 : sizes[k];
    sizes[i] = c.Source(0).shape[axis] - others;
    if (sizes[i] < 0) return c.Malformed("its parts are larger than the whole");
  }
  return Cut(c, 0, axis, c.model().Int64s(sizes));
}

}  // namespace

void RegisterTfliteOperators_join(OperatorRegistry& registry) {
  registry.Add(BuiltinOperator::CONCATENATION, Concatenation);
  registry.Add(BuiltinOperator::PACK, Pack);
  registry.Add(BuiltinOperator::UNPACK, Unpack);
  registry.Add(BuiltinOperator::SPLIT, Split);
  registry.Add(BuiltinOperator::SPLIT_V, SplitV);
}

}  // namespace modelpress::tflite
