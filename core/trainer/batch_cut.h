// How a batch is cut into parts that are computed one beside the other and fit into memory.
#pragma once

#include <cstdint>

#include "core/trainer/batches.h"
#include "core/trainer/trained_model.h"

namespace modelpress::trainer {

// Parts of a batch that may be computed at the same time. Fixed, because gradients are sums over parts, and where a sum is
// cut changes its last bits: so they are the same for any number of threads.
inline constexpr uint64_t kLanes = 4;

struct BatchCut {
  // Of one forward. Never depends on the number of threads.
  uint64_t samples = 1;
  // So many forwards at once fit into memory, at most kLanes.
  uint64_t at_once = 1;
};

// A batch is halved up to kLanes parts as long as a part has 4 MiB of activations, and cut further until as many parts as
// run at once fit into request.activation_bytes (0: without a limit). Judged by what forward and backward of one sample and
// of two take. With batch_norm_statistics the batch stays whole. The parameters have no gradients afterwards. MEMORY_BUDGET
// where a single sample does not fit, or a batch that must stay whole; those of TrainedModel::Loss.
absl::StatusOr<BatchCut> CutBatch(const TrainRequest& request, const Batches& batches,
                                  TrainedModel& model);

}  // namespace modelpress::trainer
