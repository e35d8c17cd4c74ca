// Choosing and filling: SELECT, SELECT_V2, WHERE, FILL, RANGE, ZEROS_LIKE (all versions, all types; codes through real
// numbers where they are chosen between).
//
//   SELECT, SELECT_V2 -> Where; SELECT with a vector of conditions chooses whole rows
//   WHERE -> NonZero, Transpose                     FILL -> Expand              RANGE -> Range
//   ZEROS_LIKE -> a constant, or Expand of 0 to the input's shape
#include "core/formats/tflite/operator.h"

namespace modelpress::tflite {
namespace {

// Types that the runtime chooses between.
DataType ChosenType(const OperatorContext& c, const SourceTensor& tensor) {
  if (tensor.type == TensorType::BOOL ||
      (tensor.type == TensorType::UINT8 && !IsQuantized(tensor))) {
    return DataType::kUint8;
  }
  return c.ComputeType(tensor);
}

absl::Status Select(OperatorContext& c, bool rows) {
  MP_RETURN_IF_ERROR(c.Expect(3, 1));
  MP_ASSIGN_OR_RETURN(std::string condition, c.Raw(0));
  const DataType type = ChosenType(c, c.Source(1));
  MP_ASSIGN_OR_RETURN(const std::string a, c.InAs(1, type));
  MP_ASSIGN_OR_RETURN(const std::string b, c.InAs(2, type));
  if (rows && c.Rank(0) == 1 && c.Rank(1) > 1) {
    std::vector<int64_t> dims(c.Rank(1), 1);
    dims[0] = -1;
    condition = c.builder().Reshape(condition, dims);
  }
  return c.Out(0, c.Add("Where", {condition, a, b}), type);
}

absl::Status Where(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  const DataType own = ToOnnxType(c.Source(0).type);
  MP_ASSIGN_OR_RETURN(const std::string x,
                      c.InAs(0, own == DataType::kBool ? own : c.ComputeType(c.Source(0))));
  return c.Out(0, c.builder().Transpose(c.Add("NonZero", {x}), {1, 0}), DataType::kInt64);
}

absl::Status Fill(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  MP_ASSIGN_OR_RETURN(const std::string shape, c.Int64In(0));
  MP_ASSIGN_OR_RETURN(const std::string value, c.Raw(1));
  if (c.Source(1).type == TensorType::STRING) return c.Unsupported("it fills with strings");
  return c.OutRaw(0, c.Add("Expand", {value, shape}));
}

absl::Status Range(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(3, 1));
  const DataType type = c.ComputeType(c.Source(0));
  Names inputs;
  for (int i = 0; i < 3; ++i) {
    MP_ASSIGN_OR_RETURN(inputs.emplace_back(), c.InAs(i, type));
    if (c.Rank(i) != 0) inputs.back() = c.builder().Reshape(inputs.back(), {});
  }
  return c.Out(0, c.Add("Range", std::move(inputs)), type);
}

absl::Status ZerosLike(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  const DataType type = ToOnnxType(c.Target().type);
  if (type == DataType::kUndefined || type == DataType::kString)
    return c.Unsupported("its type is not known");
  const std::string zero = c.model().ScalarOf(type, 0);
  if (c.Source(0).is_static())
    return c.OutRaw(0, c.Add("Expand", {zero, c.model().Int64s(c.Source(0).shape)}));
  MP_ASSIGN_OR_RETURN(const std::string x, c.Raw(0));
  return c.OutRaw(0, c.Add("Expand", {zero, c.Add("Shape", {x})}));
}

}  // namespace

void RegisterTfliteOperators_select(OperatorRegistry& registry) {
  registry.Add(BuiltinOperator::SELECT,
               [](OperatorContext& c) { return Select(c, /*rows=*/true); });
  registry.Add(BuiltinOperator::SELECT_V2,
               [](OperatorContext& c) { return Select(c, /*rows=*/false); });
  registry.Add(BuiltinOperator::WHERE, Where);
  registry.Add(BuiltinOperator::FILL, Fill);
  registry.Add(BuiltinOperator::RANGE, Range);
  registry.Add(BuiltinOperator::ZEROS_LIKE, ZerosLike);
}

}  // namespace modelpress::tflite
