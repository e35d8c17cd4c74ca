// The values of a floating-point tensor as float32; see float_values.h.
#include "core/quant/float_values.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/base/status.h"
#include "core/model/graph.h"
#include "core/quant/float16.h"

namespace modelpress {
namespace {

constexpr size_t kPieceElements = 1 << 20;

}  // namespace

bool IsWeightType(DataType type) {
  return type == DataType::kFloat || type == DataType::kFloat16 || type == DataType::kBfloat16;
}

absl::StatusOr<FloatValues> FloatValues::Read(const Model& model, const onnx::TensorProto& tensor,
                                              const JobContext& context) {
  FloatValues values;
  MP_ASSIGN_OR_RETURN(values.bytes_, model.Bytes(tensor));
  const DataType type = Type(tensor);
  if (type == DataType::kFloat) return values;
  if (!IsWeightType(type)) {
    return Error(ERROR_REASON_INTERNAL_BUG, "not a type of weights").Tensor(tensor.name());
  }
  const std::byte* const halves = values.bytes_.data();
  const size_t count = values.bytes_.size() / sizeof(uint16_t);
  if (count == 0) return values;
  MP_ASSIGN_OR_RETURN(values.widened_, context.scratch->NewFile(count * sizeof(float)));
  std::byte* const floats = values.widened_->mutable_bytes().data();
  const size_t pieces = (count + kPieceElements - 1) / kPieceElements;
  MP_RETURN_IF_ERROR(context.pool->ParallelFor(pieces, [&](size_t piece) -> absl::Status {
    MP_RETURN_IF_ERROR(context.cancellation->Check());
    const size_t end = std::min(count, (piece + 1) * kPieceElements);
    for (size_t i = piece * kPieceElements; i < end; ++i) {
      uint16_t half;
      std::memcpy(&half, halves + i * sizeof(half), sizeof(half));
      // bfloat16 is the upper half of a float32.
      const float value = type == DataType::kFloat16
                              ? HalfToFloat(half)
                              : std::bit_cast<float>(static_cast<uint32_t>(half) << 16);
      std::memcpy(floats + i * sizeof(value), &value, sizeof(value));
    }
    return absl::OkStatus();
  }));
  values.bytes_ = values.widened_->bytes();
  return values;
}

uint64_t LargestWidenedBytes(const Model& model) {
  uint64_t largest = 0;
  ForEachTensor(model.proto(), [&](const onnx::TensorProto& tensor) {
    if (Type(tensor) != DataType::kFloat16 && Type(tensor) != DataType::kBfloat16) return;
    if (const auto bytes = model.Bytes(tensor); bytes.ok()) {
      largest = std::max<uint64_t>(largest, 2 * bytes->size());
    }
  });
  return largest;
}

}  // namespace modelpress
