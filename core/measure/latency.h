// Latency before and after: both sessions run in turns in the same process on the same threads, so that a busy machine
// hits both alike.
#pragma once

#include "core/base/job_context.h"
#include "core/runtime/session.h"
#include "modelpress/v1/report.pb.h"

namespace modelpress {

// At least 5 and at most `max_runs` interleaved runs within about `max_seconds` after one warm-up each; median and
// interquartile range.
absl::StatusOr<Latency> CompareLatency(const Session& original, const Session& artifact,
                                       const TensorMap& original_inputs,
                                       const TensorMap& artifact_inputs, int threads, int max_runs,
                                       double max_seconds, const Cancellation& cancellation);

}  // namespace modelpress
