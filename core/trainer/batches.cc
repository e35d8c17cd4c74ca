// Batches: see batches.h.
#include "core/trainer/batches.h"

#include <cstring>
#include <numeric>
#include <utility>

#include "core/base/status.h"
#include "core/data/random.h"
#include "core/trainer/constant_tensor.h"

namespace modelpress::trainer {

uint64_t Batches::samples() const { return static_cast<uint64_t>(request_.inputs(0).dims(0)); }

absl::StatusOr<at::Tensor> Batches::GatherRows(const TrainArray& array,
                                               std::span<const uint64_t> samples) const {
  const std::span<const std::byte> all = files_.Bytes(array.data());
  const uint64_t row = all.size() / static_cast<uint64_t>(array.dims(0));
  std::vector<std::byte> rows(row * samples.size());
  for (size_t i = 0; i < samples.size(); ++i) {
    if (row > 0) std::memcpy(rows.data() + i * row, all.data() + samples[i] * row, row);
  }
  std::vector<int64_t> dims(array.dims().begin(), array.dims().end());
  dims[0] = static_cast<int64_t>(samples.size());
  if (request_.exact()) dims.erase(dims.begin());
  MP_ASSIGN_OR_RETURN(const at::Tensor tensor,
                      TensorFromBytes(array.type(), dims, rows, at::kFloat));
  return tensor.clone();
}

absl::StatusOr<TrainBatch> Batches::Gather(std::span<const uint64_t> samples, bool learning) const {
  TrainBatch batch{.samples = static_cast<int64_t>(samples.size())};
  for (const TrainArray& input : request_.inputs()) {
    MP_ASSIGN_OR_RETURN(batch.inputs[input.name()], GatherRows(input, samples));
  }
  for (const TrainTarget& target : request_.targets()) {
    MP_ASSIGN_OR_RETURN(batch.teacher.emplace_back(), GatherRows(target.teacher(), samples));
    batch.labels.emplace_back();
    if (!target.has_labels()) continue;
    MP_ASSIGN_OR_RETURN(batch.labels.back(), GatherRows(target.labels(), samples));
  }
  if (!learning) return batch;
  for (const TrainHint& hint : request_.hints()) {
    MP_ASSIGN_OR_RETURN(batch.hints.emplace_back(), GatherRows(hint.teacher(), samples));
  }
  return batch;
}

const std::vector<uint64_t>& Batches::OrderOf(uint64_t epoch) {
  if (epoch == epoch_) return order_;
  epoch_ = epoch;
  order_.resize(training_samples());
  std::iota(order_.begin(), order_.end(), 0);
  Random random(request_.seed(), /*key=*/0x7261, epoch);
  for (size_t i = order_.size(); i > 1; --i) std::swap(order_[i - 1], order_[random.Below(i)]);
  return order_;
}

std::vector<uint64_t> Batches::OfStep(uint64_t step) {
  const uint64_t size = request_.training().batch_size();
  std::vector<uint64_t> chosen;
  for (uint64_t i = step * size; i < (step + 1) * size; ++i) {
    chosen.push_back(OrderOf(i / training_samples())[i % training_samples()]);
  }
  return chosen;
}

}  // namespace modelpress::trainer
