// TensorFlow Lite to ONNX.
#pragma once

#include "absl/status/statusor.h"
#include "core/base/job_context.h"
#include "core/formats/tflite/graph.h"
#include "core/model/model.h"
#include "modelpress/v1/recipe.pb.h"

namespace modelpress::tflite {

// The opset that conversions are written in: 16-bit codes, 4-bit codes and scales by block need it.
inline constexpr int64_t kImportOpset = 21;

// The first graph of the source, or that of a signature, as an ONNX model that computes the same numbers. OP_UNSUPPORTED lists every operator that
// stands in the way, with its count, its first node and what to do. RECIPE_INVALID for options that do not fit the source.
// `notes`, if given, receives what was left out, which states are kept, and why each Transpose that is left stays.
absl::StatusOr<Model> ConvertModel(const SourceModel& source, const Import& options,
                                   const JobContext& context, std::vector<std::string>* notes);

}  // namespace modelpress::tflite
