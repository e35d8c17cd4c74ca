// Multiplying the channels of float32 constants by factors, in double precision.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "core/base/status.h"
#include "core/model/model.h"
#include "core/quant/quantize_tensor.h"

namespace modelpress {

// Element `index` of floats at any alignment.
inline float FloatAt(std::span<const std::byte> floats, uint64_t index) {
  float value;
  std::memcpy(&value, floats.data() + index * sizeof(value), sizeof(value));
  return value;
}

// Elements `first` to `first + count` times `factor`, into the same places of `result`.
inline void MultiplyFloats(std::span<const std::byte> floats, uint64_t first, uint64_t count,
                           double factor, std::span<std::byte> result) {
  for (uint64_t i = first; i < first + count; ++i) {
    const auto value = static_cast<float>(FloatAt(floats, i) * factor);
    std::memcpy(result.data() + i * sizeof(value), &value, sizeof(value));
  }
}

// Gives a float32 tensor new values of the same shape: fill(old bytes, new bytes).
template <typename Fill>
absl::Status RefillFloats(Model& model, onnx::TensorProto* tensor, WeightArena& arena,
                          const Fill& fill) {
  MP_ASSIGN_OR_RETURN(const auto values, model.Bytes(*tensor));
  MP_ASSIGN_OR_RETURN(WeightArena::Room room, arena.Allocate(values.size()));
  fill(values, room.bytes);
  const std::vector<int64_t> dims(tensor->dims().begin(), tensor->dims().end());
  return model.SetBytes(tensor, DataType::kFloat, dims, std::move(room.weight));
}

// Channel c of a float32 tensor times factors[c].
inline absl::Status ScaleChannels(Model& model, onnx::TensorProto* tensor,
                                  const ChannelLayout& layout, std::span<const double> factors,
                                  WeightArena& arena) {
  return RefillFloats(model, tensor, arena,
                      [&](std::span<const std::byte> from, std::span<std::byte> to) {
                        for (uint64_t run = 0; run < layout.outer * layout.channels; ++run) {
                          MultiplyFloats(from, run * layout.inner, layout.inner,
                                         factors[run % layout.channels], to);
                        }
                      });
}

}  // namespace modelpress
