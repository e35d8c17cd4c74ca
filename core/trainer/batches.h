// Samples of a training as batches.
#pragma once

#include <span>
#include <vector>

#include "core/trainer/files.h"
#include "core/trainer/graph.h"

namespace modelpress::trainer {

// The samples of one forward.
struct TrainBatch {
  Values inputs;
  // By target; labels are undefined where a target has none.
  std::vector<at::Tensor> teacher, labels;
  // What the teacher's values were, by hint, and how much hints count.
  std::vector<at::Tensor> hints;
  double hint_share = 1;
  int64_t samples = 0;
};

class Batches {
 public:
  // Both must outlive it.
  Batches(const TrainRequest& request, const InheritedFiles& files)
      : request_(request), files_(files) {}

  // Without `learning` the hints are left out. OP_UNSUPPORTED for types that cannot be computed with.
  absl::StatusOr<TrainBatch> Gather(std::span<const uint64_t> samples, bool learning) const;

  uint64_t training_samples() const { return request_.training_samples(); }
  uint64_t samples() const;

  // The training samples of a step: an endless sequence of random orders of all of them, cut into batches. The same
  // seed gives the same batches.
  std::vector<uint64_t> OfStep(uint64_t step);

 private:
  absl::StatusOr<at::Tensor> GatherRows(const TrainArray& array,
                                        std::span<const uint64_t> samples) const;
  const std::vector<uint64_t>& OrderOf(uint64_t epoch);

  const TrainRequest& request_;
  const InheritedFiles& files_;
  uint64_t epoch_ = ~uint64_t{0};
  std::vector<uint64_t> order_;
};

}  // namespace modelpress::trainer
