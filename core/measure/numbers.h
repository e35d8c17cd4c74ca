// The elements of a tensor as doubles, with the common case of aligned float32 first.
#pragma once

#include <cstdint>

#include "core/model/tensor.h"

namespace modelpress {

// Refers to the tensor, which must outlive it.
class Numbers {
 public:
  explicit Numbers(const Tensor& tensor) : tensor_(tensor) {
    const auto address = reinterpret_cast<uintptr_t>(tensor.bytes.data());
    if (tensor.type == DataType::kFloat && address % alignof(float) == 0) {
      floats_ = reinterpret_cast<const float*>(tensor.bytes.data());
    }
  }
  double operator[](uint64_t index) const {
    return floats_ != nullptr ? floats_[index] : ElementAsDouble(tensor_, index);
  }

 private:
  const Tensor& tensor_;
  const float* floats_ = nullptr;
};

}  // namespace modelpress
