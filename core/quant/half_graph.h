// A float32 graph to float16: which nodes change, where Casts go, and the types of everything in
// between.
#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/job_context.h"
#include "core/model/model.h"
#include "core/quant/quantize_tensor.h"
#include "modelpress/v1/pass_report.pb.h"

namespace modelpress {

struct HalfOptions {
  bool keep_io_types = true;
  // Whether a node must stay in float32.
  std::function<bool(const onnx::NodeProto&)> keep_float;
};

struct HalfGraph {
  // One for each weight that became float16, with what was clamped.
  std::vector<v1::Change> changes;
  std::vector<v1::Skip> skips;
  // Nodes that stayed in float32 by operator type, and Casts that were added.
  std::vector<std::pair<std::string, int>> float_operators;
  int casts = 0;
};

// A node changes if its schema admits float16 for its float inputs and outputs; parameters that are
// float32 by schema (Resize's scales) keep their type. Float stay: operators without float16 in
// their schema or without a way to run it in the runtime (a small table), arithmetic that ends in
// integers (float16 counts exactly to 2048 only), and what `keep_float` says. Between the two kinds
// stand Casts, one for each value and graph. If, Loop and Scan change with their bodies. Pointers
// into the model become invalid. Errors: cancellation, SCRATCH_FULL, MODEL_MALFORMED.
absl::StatusOr<HalfGraph> ConvertGraphToHalf(Model& model, const HalfOptions& options,
                                             WeightArena& arena, const JobContext& context,
                                             const ByteProgress& progress);

}  // namespace modelpress
