// Reductions over axes: MEAN, SUM, REDUCE_PROD, REDUCE_MAX, REDUCE_MIN, REDUCE_ANY, REDUCE_ALL (all versions; float32,
// integers, bool, codes through real numbers).
//
//   -> ReduceMean, ReduceSum, ReduceProd, ReduceMax, ReduceMin with the axes as an input
//   ANY, ALL -> Cast to int32, ReduceMax or ReduceMin, Cast to bool
// No axes: nothing is reduced, as in the source (ONNX would reduce all).
#include "core/formats/tflite/operator.h"

namespace modelpress::tflite {
namespace {

absl::Status Reduce(OperatorContext& c, std::string_view op) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  const DataType type = c.ComputeType(c.Source(0));
  MP_ASSIGN_OR_RETURN(const std::string x, c.InAs(0, type));
  std::string axes;
  const int64_t keep = c.Options<schema::ReducerOptions>().keep_dims() ? 1 : 0;
  Attributes attributes = {{"keepdims", keep}, {"noop_with_empty_axes", int64_t{1}}};
  if (c.IsConstant(1)) {
    MP_ASSIGN_OR_RETURN(std::vector<int64_t> values, c.Ints(1));
    if (values.empty()) return c.Out(0, x, type);
    if (c.Rank(0) >= 0) {
      for (int64_t& axis : values) {
        MP_ASSIGN_OR_RETURN(axis, c.Axis(axis, c.Rank(0)));
      }
    }
    axes = c.model().Int64s(values);
    attributes.pop_back();
  } else {
    MP_ASSIGN_OR_RETURN(axes, c.Int64In(1));
    if (c.Source(1).has_shape && c.Source(1).shape.empty()) axes = c.builder().Reshape(axes, {1});
  }
  return c.Out(0, c.Add(op, {x, axes}, std::move(attributes)), type);
}

}  // namespace

void RegisterTfliteOperators_reduction(OperatorRegistry& registry) {
  registry.Add(BuiltinOperator::MEAN, [](OperatorContext& c) { return Reduce(c, "ReduceMean"); });
  registry.Add(BuiltinOperator::SUM, [](OperatorContext& c) { return Reduce(c, "ReduceSum"); });
  registry.Add(BuiltinOperator::REDUCE_PROD,
               [](OperatorContext& c) { return Reduce(c, "ReduceProd"); });
  registry.Add(BuiltinOperator::REDUCE_MAX,
               [](OperatorContext& c) { return Reduce(c, "ReduceMax"); });
  registry.Add(BuiltinOperator::REDUCE_MIN,
               [](OperatorContext& c) { return Reduce(c, "ReduceMin"); });
  registry.Add(BuiltinOperator::REDUCE_ANY,
               [](OperatorContext& c) { return Reduce(c, "ReduceMax"); });
  registry.Add(BuiltinOperator::REDUCE_ALL,
               [](OperatorContext& c) { return Reduce(c, "ReduceMin"); });
}

}  // namespace modelpress::tflite
