// A weight of a file that holds weights and no graph: its name, and where its bytes are.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/status.h"
#include "core/model/model.h"

namespace modelpress {

// Row-major, little-endian; `data` has exactly the bytes of `type` and `dims`.
struct NamedTensor {
  std::string name;
  DataType type = DataType::kUndefined;
  std::vector<int64_t> dims;
  WeightRef data;
};

// A view of a one-dimensional storage, extents, strides and offset in elements (as PyTorch stores tensors).
struct StridedTensor {
  DataType type = DataType::kUndefined;
  std::vector<int64_t> dims;
  std::vector<int64_t> strides;
  int64_t offset = 0;
  WeightRef storage;
};

// The same as a NamedTensor: bytes that lie in order are referred to, others are copied in order into `arena`.
// MODEL_MALFORMED, naming the tensor, where the view leaves its storage or is absurd; MODEL_LIMIT for views that expand
// a storage by more than 64 Mi elements.
absl::StatusOr<NamedTensor> Materialise(std::string name, const StridedTensor& tensor,
                                        WeightArena& arena);

// A model that is nothing but these weights, as initializers.
absl::StatusOr<Model> ModelOfWeights(const std::vector<NamedTensor>& weights);

}  // namespace modelpress
