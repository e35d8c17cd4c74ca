// The content of one tensor as the file has it, brought into the model's two forms: inline raw bytes, or a weight.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "core/base/mapped_file.h"
#include "core/formats/format.h"
#include "core/formats/onnx/skeleton.h"
#include "core/model/model.h"

namespace modelpress::onnx_format {

class TensorDataReader {
 public:
  // Everything outlives the reader. `arena` takes what cannot be mapped (varints, split fields).
  TensorDataReader(const InputFiles& files, const std::vector<MovedTensor>& moved,
                   uint64_t inline_bytes, Model* model, WeightArena* arena)
      : files_(files), moved_(moved), inline_bytes_(inline_bytes), model_(model), arena_(arena) {}

  // Resolves the tensor's payload, typed data or external data. `keep_inline`: it feeds shape arithmetic, so it becomes
  // inline whatever its size. MODEL_MALFORMED where data and dims disagree, EXTERNAL_DATA_REJECTED for external data
  // that is not a blob of this job.
  absl::Status Resolve(onnx::TensorProto* tensor, bool keep_inline);

 private:
  // The bytes that dims and type ask for.
  absl::StatusOr<uint64_t> ExpectedBytes(const onnx::TensorProto& tensor) const;
  absl::Status ResolveStrings(const onnx::TensorProto& tensor) const;
  absl::Status ResolveMoved(onnx::TensorProto* tensor, const MovedTensor& moved, bool keep_inline);
  absl::Status ResolveSmall(onnx::TensorProto* tensor);
  absl::Status ResolveExternal(onnx::TensorProto* tensor, bool keep_inline);
  absl::Status Place(onnx::TensorProto* tensor, WeightRef weight, bool keep_inline);

  const InputFiles& files_;
  const std::vector<MovedTensor>& moved_;
  uint64_t inline_bytes_;
  Model* model_;
  WeightArena* arena_;
  // Bytes brought into the skeleton so far.
  uint64_t placed_inline_ = 0;
};

}  // namespace modelpress::onnx_format
