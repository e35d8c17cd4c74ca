// The training loop.
#pragma once

#include <functional>

#include "absl/status/statusor.h"
#include "core/base/cancellation.h"
#include "core/base/status.h"
#include "modelpress/v1/trainer.pb.h"

namespace modelpress::trainer {

// Trains as the request says and writes the values of the least validation loss to where they are expected. Defaults of
// request.training() must be filled in. The same request gives the same bytes on one kind of CPU, for any number of
// threads and also where it is resumed from a checkpoint: batches are drawn from the seed and the step alone, and their
// gradients are added up in an order of their own (batch_loss.h).
// Errors: OP_UNSUPPORTED and MEMORY_BUDGET before any step; TRAINING_DIVERGED; JOB_CANCELLED; RUNTIME_FAILED.
absl::StatusOr<TrainResult> Train(const TrainRequest& request, size_t threads,
                                  const Cancellation& cancellation,
                                  const std::function<void(const TrainProgress&)>& progress);

}  // namespace modelpress::trainer
