// The values of a floating-point tensor as float32, whatever its own type.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "core/base/job_context.h"
#include "core/model/model.h"

namespace modelpress {

// Types that passes on weights work on: float32, float16 and bfloat16.
bool IsWeightType(DataType type);

// Four bytes for each element: the tensor's own where it is float32, else a copy in scratch, for as
// long as this lives.
class FloatValues {
 public:
  // The tensor's type must be a weight type. Errors: MODEL_MALFORMED, SCRATCH_FULL, cancellation.
  static absl::StatusOr<FloatValues> Read(const Model& model, const onnx::TensorProto& tensor,
                                          const JobContext& context);

  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::shared_ptr<MappedFile> widened_;
  std::span<const std::byte> bytes_;
};

// Bytes of scratch for the largest such copy of a model, for estimates.
uint64_t LargestWidenedBytes(const Model& model);

}  // namespace modelpress
