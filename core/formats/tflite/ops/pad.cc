// Padding: PAD, PADV2, MIRROR_PAD (all versions; float32, integers, codes, which stay codes).
//
//   PAD -> Pad with 0, the zero point for codes        PADV2 -> Pad with the given value
//   MIRROR_PAD REFLECT -> Pad, mode reflect            SYMMETRIC (the edge is repeated, which ONNX has no mode for): on
//     each padded axis Concat(reversed head, x, reversed tail)
#include <algorithm>
#include <limits>

#include "core/formats/tflite/operator.h"

namespace modelpress::tflite {
namespace {

// [rank, 2] to all begins, then all ends.
absl::StatusOr<std::vector<int64_t>> ConstantPads(OperatorContext& c) {
  MP_ASSIGN_OR_RETURN(const std::vector<int64_t> pairs, c.Ints(1));
  if (pairs.size() % 2 != 0 ||
      (c.Rank(0) >= 0 && pairs.size() != 2 * static_cast<size_t>(c.Rank(0)))) {
    return c.Malformed("its paddings are not two for each axis");
  }
  for (const int64_t pad : pairs) {
    if (pad < 0) return c.Malformed("a padding is negative");
  }
  std::vector<int64_t> pads;
  for (size_t side = 0; side < 2; ++side) {
    for (size_t i = side; i < pairs.size(); i += 2) pads.push_back(pairs[i]);
  }
  return pads;
}

absl::StatusOr<std::string> Pads(OperatorContext& c) {
  if (c.IsConstant(1)) {
    MP_ASSIGN_OR_RETURN(const std::vector<int64_t> pads, ConstantPads(c));
    return c.model().Int64s(pads);
  }
  MP_ASSIGN_OR_RETURN(const std::string pairs, c.Int64In(1));
  return c.builder().Reshape(c.builder().Transpose(pairs, {1, 0}), {-1});
}

absl::Status Pad(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  MP_ASSIGN_OR_RETURN(const std::string pads, Pads(c));
  const SourceTensor& source = c.Source(0);
  // The runtime pads 8-bit but not 16-bit integers.
  const bool codes = c.MovesCodes(0) && source.type != TensorType::INT16;
  const DataType type = codes || !IsQuantized(source) ? ToOnnxType(source.type) : DataType::kFloat;
  std::string x, value;
  if (codes) {
    MP_ASSIGN_OR_RETURN(x, c.Raw(0));
  } else {
    MP_ASSIGN_OR_RETURN(x, c.In(0));
  }
  if (c.Has(2)) {
    if (codes && IsQuantized(source) && !SameCodes(source, c.Source(2))) {
      return c.Unsupported("its value has another scale than its input");
    }
    if (codes) {
      MP_ASSIGN_OR_RETURN(value, c.Raw(2));
    } else {
      MP_ASSIGN_OR_RETURN(value, c.In(2));
    }
    if (c.Rank(2) != 0) value = c.builder().Reshape(value, {});
  } else if (codes && IsQuantized(source)) {
    value = c.model().ScalarOf(type, static_cast<double>(source.quantization->zero_point[0]));
  }
  Names inputs = {x, pads, value};
  if (type == DataType::kInt16) {
    inputs[0] = c.builder().Cast(x, DataType::kInt32);
    if (!value.empty()) inputs[2] = c.builder().Cast(value, DataType::kInt32);
    return c.Out(0, c.Add("Pad", std::move(inputs)), DataType::kInt32);
  }
  const std::string y = c.Add("Pad", std::move(inputs));
  return codes ? c.OutRaw(0, y) : c.Out(0, y, type);
}

absl::Status MirrorPad(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  MP_ASSIGN_OR_RETURN(const std::string x, c.Moved(0));
  if (c.Options<schema::MirrorPadOptions>().mode() == schema::MirrorPadMode::REFLECT) {
    MP_ASSIGN_OR_RETURN(const std::string pads, Pads(c));
    return c.OutMoved(0, 0, c.Add("Pad", {x, pads}, {{"mode", std::string("reflect")}}));
  }
  MP_ASSIGN_OR_RETURN(const std::vector<int64_t> pads, ConstantPads(c));
  const size_t rank = pads.size() / 2;
  std::string y = x;
  for (size_t axis = 0; axis < rank; ++axis) {
    const int64_t head = pads[axis], tail = pads[rank + axis], at = static_cast<int64_t>(axis);
    Names parts;
    constexpr int64_t kBeforeStart = std::numeric_limits<int64_t>::min();
    if (head > 0) parts.push_back(c.builder().Slice(y, {head - 1}, {kBeforeStart}, {at}, {-1}));
    parts.push_back(y);
    if (tail > 0) parts.push_back(c.builder().Slice(y, {-1}, {-1 - tail}, {at}, {-1}));
    if (parts.size() > 1) y = c.Add("Concat", std::move(parts), {{"axis", at}});
  }
  return c.OutMoved(0, 0, y);
}

}  // namespace

void RegisterTfliteOperators_pad(OperatorRegistry& registry) {
  registry.Add(BuiltinOperator::PAD, Pad);
  registry.Add(BuiltinOperator::PADV2, Pad);
  registry.Add(BuiltinOperator::MIRROR_PAD, MirrorPad);
}

}  // namespace modelpress::tflite
