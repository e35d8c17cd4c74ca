// Integers of any width: see integers.h.
#include "core/model/integers.h"

#include <cstring>

namespace modelpress {

std::optional<std::vector<int64_t>> ReadIntegers(const Model& model,
                                                 const onnx::TensorProto& tensor, size_t most) {
  const auto bytes = model.Bytes(tensor);
  if (!bytes.ok()) return std::nullopt;
  std::vector<int64_t> values;
  const auto read = [&](auto value) {
    const size_t count = bytes->size() / sizeof(value);
    if (count > most) return false;
    values.reserve(count);
    for (size_t i = 0; i < count; ++i) {
      std::memcpy(&value, bytes->data() + i * sizeof(value), sizeof(value));
      values.push_back(static_cast<int64_t>(value));
    }
    return true;
  };
  bool done = false;
  switch (Type(tensor)) {
    case DataType::kInt64:
      done = read(int64_t{});
      break;
    case DataType::kInt32:
      done = read(int32_t{});
      break;
    case DataType::kBool:
      done = read(uint8_t{});
      break;
    default:
      break;
  }
  return done ? std::optional(std::move(values)) : std::nullopt;
}

}  // namespace modelpress
