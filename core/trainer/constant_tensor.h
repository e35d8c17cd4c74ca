// Tensors of a model as libtorch's.
#pragma once

#include <span>

#include "absl/status/statusor.h"
#include "core/model/model.h"
#include "core/trainer/operator.h"

namespace modelpress::trainer {

// `bytes` as described by type and dims, 4-bit elements packed. float32 refers to the bytes where they are aligned, the
// rest is a copy. OP_UNSUPPORTED for types that cannot be computed with.
absl::StatusOr<at::Tensor> TensorFromBytes(int32_t onnx_type, std::span<const int64_t> dims,
                                           std::span<const std::byte> bytes,
                                           at::ScalarType float_type);
// A tensor of the model, which must outlive the result.
absl::StatusOr<at::Tensor> TensorOf(const Model& model, const onnx::TensorProto& tensor,
                                    at::ScalarType float_type);
// One whose bytes are in it; throws where they are not.
at::Tensor InlineTensor(const onnx::TensorProto& tensor, at::ScalarType float_type);

}  // namespace modelpress::trainer
