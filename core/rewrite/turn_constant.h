// Constants in another order of axes.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "core/model/graph.h"
#include "core/model/model.h"

namespace modelpress {

// Looks at the initializers of the main graph and adds turned ones. New ones become part of the model with Finish; until
// then tensors of the model stay where they are. Not thread-safe.
class ConstantTurner {
 public:
  ConstantTurner(Model* model, WeightArena* arena, UniqueNames* names);

  // An initializer of the main graph that nobody can override.
  bool IsConstant(const std::string& name) const { return tensors_.contains(name); }
  // The values of a constant of type int64 or int32 with at most 64 elements.
  std::optional<std::vector<int64_t>> Ints(const std::string& name) const;
  // Of type int64 or int32.
  std::string MakeInts(const std::vector<int64_t>& values, DataType type = DataType::kInt64);
  // The constant with leading axes of extent 1 up to the rank of `perm`, then turned: dims[i] = padded[perm[i]]. Constants
  // of one element stay as they are. One copy for each order, however often it is asked for.
  absl::StatusOr<std::string> Turn(const std::string& name, const std::vector<int64_t>& perm);
  // A matrix of weights whose rows (columns with `rows_last`) are features [dims[1:]] of an image: the same rows in the
  // order that the image has when it is turned by `perm` (perm[0] = 0).
  absl::StatusOr<std::string> TurnRows(const std::string& name, const std::vector<int64_t>& dims,
                                       const std::vector<int64_t>& perm, bool rows_last);
  absl::Status Finish();

 private:
  // A new constant `name` of shape `out`: the bytes of `source`, read as of shape `dims`, turned.
  absl::StatusOr<std::string> Make(const std::string& name, const onnx::TensorProto& source,
                                   const std::vector<int64_t>& dims,
                                   const std::vector<int64_t>& perm,
                                   const std::vector<int64_t>& out);

  Model& model_;
  WeightArena& arena_;
  UniqueNames& names_;
  absl::flat_hash_map<std::string, const onnx::TensorProto*> tensors_;
  std::map<std::pair<std::string, std::vector<int64_t>>, std::string> turned_;
  std::map<std::pair<DataType, std::vector<int64_t>>, std::string> ints_;
  std::vector<onnx::TensorProto> made_;
};

// `source` in another order of its axes: dims_out[i] = dims[perm[i]]. Elements of 1, 2, 4 or 8 bytes. `out` has room.
void TransposeBytes(std::span<const std::byte> source, std::span<const int64_t> dims,
                    std::span<const int64_t> perm, int element_bytes, std::span<std::byte> out);

// The same as a new weight, by way of a buffer of the cache's size: writing that with system calls costs less than touching
// every page of a mapped file for the first time.
absl::StatusOr<WeightRef> TransposedWeight(std::span<const std::byte> source,
                                           std::span<const int64_t> dims,
                                           std::span<const int64_t> perm, int element_bytes,
                                           WeightArena& arena);

}  // namespace modelpress
