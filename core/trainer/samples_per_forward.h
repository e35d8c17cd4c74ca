// How a batch is cut so that it fits into memory.
#pragma once

#include <cstdint>

#include "core/trainer/batches.h"
#include "core/trainer/trained_model.h"

namespace modelpress::trainer {

// So many samples at once, at most a batch, as fit into request.activation_bytes, judged by what forward and backward of
// one sample and of two take. The parameters have no gradients afterwards. MEMORY_BUDGET where one does not fit, or where a
// batch must be cut that batch_norm_statistics needs whole; those of TrainedModel::Loss.
absl::StatusOr<uint64_t> SamplesPerForward(const TrainRequest& request, const Batches& batches,
                                           TrainedModel& model);

}  // namespace modelpress::trainer
