// Order along an axis: ARG_MAX, ARG_MIN, TOPK_V2, CUMSUM, UNIQUE, BUCKETIZE (all versions; float32, integers, codes).
//
//   ARG_MAX, ARG_MIN -> ArgMax, ArgMin (first of equals), Cast to the index type       TOPK_V2 -> TopK (largest, sorted)
//   CUMSUM -> CumSum                                                  UNIQUE -> Unique in order of first occurrence
//   BUCKETIZE -> the number of boundaries <= x: GreaterOrEqual, Cast, ReduceSum
#include "core/formats/tflite/operator.h"

namespace modelpress::tflite {
namespace {

absl::Status Arg(OperatorContext& c, std::string_view op) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  MP_ASSIGN_OR_RETURN(const int rank, c.KnownRank(0));
  MP_ASSIGN_OR_RETURN(const std::vector<int64_t> written, c.Ints(1));
  if (written.size() != 1) return c.Malformed("it has more than one axis");
  MP_ASSIGN_OR_RETURN(const int64_t axis, c.Axis(written[0], rank));
  DataType type = c.ComputeType(c.Source(0));
  if (type == DataType::kInt64) type = DataType::kInt32;  // the runtime has no other kernel
  // Codes have the order of their numbers.
  const bool codes = IsQuantized(c.Source(0)) && c.Source(0).type != TensorType::INT16;
  std::string x;
  if (codes) {
    MP_ASSIGN_OR_RETURN(x, c.Raw(0));
  } else {
    MP_ASSIGN_OR_RETURN(x, c.InAs(0, type));
  }
  return c.Out(0, c.Add(op, {x}, {{"axis", axis}, {"keepdims", int64_t{0}}}), DataType::kInt64);
}

absl::Status TopK(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(2, 2));
  const DataType type = c.ComputeType(c.Source(0));
  MP_ASSIGN_OR_RETURN(const std::string x, c.InAs(0, type));
  std::string k;
  if (c.IsConstant(1)) {
    MP_ASSIGN_OR_RETURN(const std::vector<int64_t> count, c.Ints(1));
    k = c.model().Int64s(count);
  } else {
    MP_ASSIGN_OR_RETURN(k, c.Int64In(1));
    k = c.builder().Reshape(k, {1});
  }
  const Names made = c.builder().AddMany("TopK", {x, k}, {{"axis", int64_t{-1}}}, 2);
  MP_RETURN_IF_ERROR(c.Out(0, made[0], type));
  return c.Out(1, made[1], DataType::kInt64);
}

absl::Status CumSum(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  const auto& options = c.Options<schema::CumsumOptions>();
  const DataType type = c.ComputeType(c.Source(0));
  MP_ASSIGN_OR_RETURN(const std::string x, c.InAs(0, type));
  std::string axis;
  if (c.IsConstant(1)) {
    MP_ASSIGN_OR_RETURN(const std::vector<int64_t> written, c.Ints(1));
    if (written.size() != 1) return c.Malformed("it has more than one axis");
    axis = c.model().Int64(written[0]);
  } else {
    MP_ASSIGN_OR_RETURN(axis, c.Raw(1));
  }
  return c.Out(
      0,
      c.Add("CumSum", {x, axis},
            {{"exclusive", int64_t{options.exclusive()}}, {"reverse", int64_t{options.reverse()}}}),
      type);
}

absl::Status Unique(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 2));
  DataType type = c.ComputeType(c.Source(0));
  if (type == DataType::kInt32)
    type = DataType::kInt64;  // the runtime has float, int64, int8 and strings
  MP_ASSIGN_OR_RETURN(const std::string x, c.InAs(0, type));
  const Names made = c.builder().AddMany("Unique", {x}, {{"sorted", int64_t{0}}}, 3);
  MP_RETURN_IF_ERROR(c.Out(0, made[0], type));
  return c.Out(1, made[2], DataType::kInt64);
}

absl::Status Bucketize(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  const auto* list = c.Options<schema::BucketizeOptions>().boundaries();
  if (list == nullptr) return c.Malformed("it has no boundaries");
  const std::vector<float> boundaries(list->begin(), list->end());
  const int64_t count = static_cast<int64_t>(boundaries.size());
  const DataType type = c.ComputeType(c.Source(0));
  const DataType compared = type == DataType::kDouble ? type : DataType::kFloat;
  MP_ASSIGN_OR_RETURN(const std::string x, c.InAs(0, compared));
  const std::string column = c.Add("Unsqueeze", {x, c.model().Int64s({-1})});
  std::string limits = c.model().Floats(boundaries, std::span(&count, 1));
  if (compared == DataType::kDouble) limits = c.builder().Cast(limits, compared);
  const std::string above =
      c.builder().Cast(c.Add("GreaterOrEqual", {column, limits}), DataType::kInt32);
  return c.Out(0, c.Add("ReduceSum", {above, c.model().Int64s({-1})}, {{"keepdims", int64_t{0}}}),
               DataType::kInt32);
}

}  // namespace

void RegisterTfliteOperators_ranking(OperatorRegistry& registry) {
  registry.Add(BuiltinOperator::ARG_MAX, [](OperatorContext& c) { return Arg(c, "ArgMax"); });
  registry.Add(BuiltinOperator::ARG_MIN, [](OperatorContext& c) { return Arg(c, "ArgMin"); });
  registry.Add(BuiltinOperator::TOPK_V2, TopK);
  registry.Add(BuiltinOperator::CUMSUM, CumSum);
  registry.Add(BuiltinOperator::UNIQUE, Unique);
  registry.Add(BuiltinOperator::BUCKETIZE, Bucketize);
}

}  // namespace modelpress::tflite
