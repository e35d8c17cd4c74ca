// A model: an ONNX skeleton in memory whose large weights stay in mapped files.
//
// The skeleton is an ordinary onnx::ModelProto. A tensor (initializer, Constant node, attribute of any node, in the main
// graph, a subgraph or a function) is one of
//   inline    raw_data holds the bytes: up to kInlineBytes, and every tensor that feeds shape arithmetic;
//   weight    data_location = EXTERNAL with the single entry location = "#N": N indexes weights(). The bytes are in a
//             mapped upload or scratch file, at any alignment;
//   strings   string_data, inline.
// Readers bring every numeric tensor into one of the first two forms, so nobody else sees typed data fields.
// Complexity: loading is O(skeleton), not O(weights). Not thread-safe while it is changed; reading is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/mapped_file.h"
#include "core/base/scratch.h"
#include "core/model/tensor_type.h"
#include "onnx/onnx_pb.h"

namespace modelpress {

// Tensors up to this size stay inline in the skeleton.
inline constexpr uint64_t kInlineBytes = 4096;

// Where the bytes of a weight are.
struct WeightRef {
  std::shared_ptr<const MappedFile> file;
  uint64_t offset = 0;
  uint64_t length = 0;

  std::span<const std::byte> bytes() const { return file->bytes().subspan(offset, length); }
};

class WeightArena;

class Model {
 public:
  Model() = default;
  Model(Model&&) = default;
  Model& operator=(Model&&) = default;

  // A second skeleton over the same weights (weights are never changed in place, only replaced).
  Model Clone() const;

  const onnx::ModelProto& proto() const { return proto_; }
  onnx::ModelProto& mutable_proto() { return proto_; }
  const std::vector<WeightRef>& weights() const { return weights_; }

  // The bytes of a numeric tensor, inline or weight. MODEL_MALFORMED if the tensor is neither.
  absl::StatusOr<std::span<const std::byte>> Bytes(const onnx::TensorProto& tensor) const;
  // The weight behind a tensor, or null if it is inline.
  const WeightRef* Weight(const onnx::TensorProto& tensor) const;

  // Gives `tensor` (name kept) a new type, shape and bytes. The first copies into the skeleton, the second refers.
  // Both check that the sizes agree (INTERNAL_BUG otherwise: passes make them).
  absl::Status SetInline(onnx::TensorProto* tensor, DataType type, std::span<const int64_t> dims,
                         std::span<const std::byte> bytes) const;
  absl::Status SetWeight(onnx::TensorProto* tensor, DataType type, std::span<const int64_t> dims,
                         WeightRef weight);
  // Whichever of the two the size asks for: inline up to kInlineBytes. Bytes that are in a file already are referred to;
  // others are copied into `arena`.
  absl::Status SetBytes(onnx::TensorProto* tensor, DataType type, std::span<const int64_t> dims,
                        WeightRef bytes);
  absl::Status SetBytes(onnx::TensorProto* tensor, DataType type, std::span<const int64_t> dims,
                        std::span<const std::byte> bytes, WeightArena& arena);

  // Version of the default domain; 0 if not imported.
  int64_t opset() const;

 private:
  onnx::ModelProto proto_;
  std::vector<WeightRef> weights_;
};

// Writes new weights of a pass into mapped scratch files: few large files, however many tensors (each costs a
// descriptor). Thread-safe.
class WeightArena {
 public:
  explicit WeightArena(Scratch* scratch) : scratch_(scratch) {}

  // Room for `length` bytes (aligned to 64), to be filled by the caller. The reference shares the file.
  struct Room {
    std::span<std::byte> bytes;
    WeightRef weight;
  };
  absl::StatusOr<Room> Allocate(uint64_t length);

 private:
  std::mutex mutex_;
  Scratch* scratch_;
  std::shared_ptr<MappedFile> file_;
  uint64_t used_ = 0;
};

std::span<const int64_t> Dims(const onnx::TensorProto& tensor);
DataType Type(const onnx::TensorProto& tensor);

}  // namespace modelpress
