// The training loop.
#pragma once

#include <functional>

#include "absl/status/statusor.h"
#include "core/base/cancellation.h"
#include "core/base/status.h"
#include "modelpress/v1/trainer.pb.h"

namespace modelpress::trainer {

// Trains as the request says and writes the values of the least validation loss to where they are expected. Defaults of
// request.training() must be filled in. The same request gives the same bytes on one kind of CPU, also where it is resumed
// from a checkpoint: one thread computes, batches are drawn from the seed and the step alone.
// Errors: OP_UNSUPPORTED and MEMORY_BUDGET before any step; TRAINING_DIVERGED; JOB_CANCELLED; RUNTIME_FAILED.
absl::StatusOr<TrainResult> Train(const TrainRequest& request, const Cancellation& cancellation,
                                  const std::function<void(const TrainProgress&)>& progress);

}  // namespace modelpress::trainer
