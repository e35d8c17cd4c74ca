// BatchNormalization into the linear operator before it.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "core/base/job_context.h"
#include "core/model/model.h"
#include "modelpress/v1/pass_report.pb.h"

namespace modelpress {

struct BatchNormFolding {
  std::vector<v1::Change> changes;
  std::vector<v1::Skip> skips;
};

// With a = scale / sqrt(variance + epsilon), computed in double precision (ONNX BatchNormalization,
// inference):
//
//   BN(W x + b) = (a W) x + (a (b - mean) + B)
//
// for every BatchNormalization of every graph that directly follows a Conv, ConvTranspose, Gemm or
// (two-dimensional) MatMul with constant weights and is its only reader. A MatMul gets an Add.
// Every other BatchNormalization is a skip. Errors: cancellation, SCRATCH_FULL, MODEL_MALFORMED.
// Pointers into the model become invalid.
absl::StatusOr<BatchNormFolding> FoldBatchNorms(Model& model, WeightArena& arena,
                                                const JobContext& context);

}  // namespace modelpress
