// A tensor in memory: what goes into and comes out of an inference. Weights of models are not these (see model.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/model/tensor_type.h"

namespace modelpress {

// Value type; copying shares the bytes, which are never changed after construction by anyone but the maker.
struct Tensor {
  DataType type = DataType::kUndefined;
  std::vector<int64_t> dims;
  // Row-major little-endian elements; empty for strings. `owner` keeps them alive (heap block or mapped file).
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> owner;
  // Only for DataType::kString.
  std::vector<std::string> strings;

  // A new tensor of zeros; `*data` receives its writable bytes.
  static absl::StatusOr<Tensor> Make(DataType type, std::vector<int64_t> dims,
                                     std::span<std::byte>* data);
  uint64_t element_count() const;
  // The elements; T must match the type's size. Bytes must be aligned for T (those of Make and of the runtime are).
  template <typename T>
  std::span<const T> as() const {
    return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
  }
};

// Element i as double for every numeric type (float16, bfloat16, integers, bool); any alignment.
double ElementAsDouble(const Tensor& tensor, uint64_t index);

}  // namespace modelpress
