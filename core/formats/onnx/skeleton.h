// The skeleton of an ONNX file: everything but the content of large tensors, small enough to parse as usual.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/cancellation.h"

namespace modelpress::onnx_format {

// Limits of a skeleton. A parsed field takes up to about 200 bytes of memory, so these bound the memory of a load.
inline constexpr uint64_t kMaxSkeletonBytes = uint64_t{256} << 20;
// Strings, nodes, attributes, tensors, ... together.
inline constexpr uint64_t kMaxSkeletonFields = 8'000'000;
// Types, shapes and metadata, whose inside is not counted.
inline constexpr uint64_t kMaxOpaqueBytes = uint64_t{64} << 20;
// Messages inside each other; protobuf parses no deeper either.
inline constexpr int kMaxDepth = 96;

// A tensor whose content stayed in the file.
struct MovedTensor {
  // The extent of the TensorProto in the file.
  uint64_t begin = 0;
  uint64_t end = 0;
};

struct Skeleton {
  // A serialised ModelProto. Moved tensor number i has no payload fields but one more external_data entry with key
  // kMovedKey and value "i".
  std::string bytes;
  std::vector<MovedTensor> moved;
};

// No tensor of an upload may have this key: scanning refuses it.
inline constexpr std::string_view kMovedKey = "modelpress.moved";

// Scans the file: time and memory are O(skeleton). Tensors with a payload above `inline_bytes` are moved.
// Errors: MODEL_MALFORMED (also for singular tensor fields that occur twice, whose merge protobuf defines but nobody
// means), MODEL_LIMIT, FORMAT_UNSUPPORTED (training graphs), JOB_CANCELLED.
absl::StatusOr<Skeleton> ScanModel(std::span<const std::byte> file, uint64_t inline_bytes,
                                   const Cancellation* cancellation);

}  // namespace modelpress::onnx_format
