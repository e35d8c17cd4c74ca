// Literal tensors for tests of measures.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/model/tensor.h"

namespace modelpress::testing {

template <typename T>
Tensor MakeTensor(DataType type, std::vector<int64_t> dims, const std::vector<T>& values) {
  std::span<std::byte> bytes;
  Tensor tensor = Tensor::Make(type, std::move(dims), &bytes).value();
  if (bytes.size() != values.size() * sizeof(T)) std::abort();  // the test contradicts itself
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return tensor;
}

inline Tensor Floats(std::vector<int64_t> dims, const std::vector<float>& values) {
  return MakeTensor(DataType::kFloat, std::move(dims), values);
}
inline Tensor Int64s(std::vector<int64_t> dims, const std::vector<int64_t>& values) {
  return MakeTensor(DataType::kInt64, std::move(dims), values);
}

}  // namespace modelpress::testing
