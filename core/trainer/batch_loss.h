// The loss of many samples and its gradients, computed by several threads.
//
//   batch   |  lane 0  |  lane 1  |  lane 2  |  lane 3  |     cut by the number of samples alone
//              |  |  |                                        parts of a lane: one forward and backward each, in order
//           gradients of a lane: the sum over its parts;  of the batch: the sum over lanes, in order
//
// So the same bytes come out whichever thread computes a lane.
#pragma once

#include <algorithm>
#include <functional>
#include <span>
#include <vector>

#include "core/base/cancellation.h"
#include "core/base/thread_pool.h"
#include "core/trainer/batch_cut.h"
#include "core/trainer/batches.h"
#include "core/trainer/trained_model.h"

namespace modelpress::trainer {

class BatchLoss {
 public:
  // Model and batches must outlive it. At most `threads` compute.
  BatchLoss(TrainedModel& model, const Batches& batches, const BatchCut& cut, size_t threads)
      : model_(model), batches_(batches), cut_(cut), pool_(std::min(threads, cut.at_once)) {}

  // The mean loss of the samples, hints counting by `hint_share`; the parameters get its gradients. With
  // `batch_statistics` the samples are one part, whatever the cut. Errors: OP_UNSUPPORTED where no parameter has an
  // influence; those of TrainedModel::Loss.
  absl::StatusOr<double> Learn(std::span<const uint64_t> samples, bool batch_statistics,
                               double hint_share);
  // The mean loss of samples [first, end) without hints; adds to `decisions`. JOB_CANCELLED; those of TrainedModel::Loss.
  absl::StatusOr<double> Judge(uint64_t first, uint64_t end, const Cancellation& cancellation,
                               Decisions* decisions);

 private:
  // ParallelFor for what may throw: the first exception is thrown again here.
  absl::Status ForEach(size_t count, const std::function<absl::Status(size_t)>& body);

  TrainedModel& model_;
  const Batches& batches_;
  BatchCut cut_;
  ThreadPool pool_;
};

}  // namespace modelpress::trainer
