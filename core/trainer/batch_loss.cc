// Lanes and parts of batches: see batch_loss.h.
#include "core/trainer/batch_loss.h"

#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <exception>
#include <numeric>
#include <utility>

#include "core/base/status.h"
#include "core/trainer/computing.h"

namespace modelpress::trainer {
namespace {

// A sum of tensors that leaves its summands as they are.
class Sum {
 public:
  void Add(const at::Tensor& tensor) {
    if (!tensor.defined()) return;
    if (!sum_.defined()) {
      sum_ = tensor;
    } else if (own_) {
      sum_.add_(tensor);
    } else {
      sum_ = sum_ + tensor;
      own_ = true;
    }
  }
  const at::Tensor& tensor() const { return sum_; }
  // As memory that nothing else refers to; undefined where nothing was added.
  at::Tensor Take() && { return sum_.defined() && !own_ ? sum_.clone() : std::move(sum_); }

 private:
  at::Tensor sum_;
  bool own_ = false;
};

struct Lane {
  double loss = 0;
  bool has_gradient = false;
  std::vector<Sum> gradients;
};

}  // namespace

absl::Status BatchLoss::ForEach(size_t count, const std::function<absl::Status(size_t)>& body) {
  std::vector<std::exception_ptr> thrown(count);
  const absl::Status status = pool_.ParallelFor(count, [&](size_t i) -> absl::Status {
    SetUpComputing();
    try {
      return body(i);
    } catch (...) {
      thrown[i] = std::current_exception();
      return Error(ERROR_REASON_INTERNAL_BUG, "an exception is passed on");
    }
  });
  for (const std::exception_ptr& exception : thrown) {
    if (exception != nullptr) std::rethrow_exception(exception);
  }
  return status;
}

absl::StatusOr<double> BatchLoss::Learn(std::span<const uint64_t> samples, bool batch_statistics,
                                        double hint_share) {
  const std::vector<at::Tensor> leaves = model_.Leaves();
  std::vector<at::Tensor> wanted;
  for (const at::Tensor& leaf : leaves) {
    if (leaf.requires_grad()) wanted.push_back(leaf);
  }
  const uint64_t each = batch_statistics ? samples.size() : cut_.samples;
  const uint64_t parts = (samples.size() + each - 1) / each;
  std::vector<Lane> lanes(std::min(parts, kLanes));
  MP_RETURN_IF_ERROR(ForEach(lanes.size(), [&](size_t l) -> absl::Status {
    Lane& lane = lanes[l];
    lane.gradients.resize(wanted.size());
    for (uint64_t p = l * parts / lanes.size(); p < (l + 1) * parts / lanes.size(); ++p) {
      const uint64_t count = std::min<uint64_t>(each, samples.size() - p * each);
      MP_ASSIGN_OR_RETURN(TrainBatch batch, batches_.Gather(samples.subspan(p * each, count),
                                                            /*learning=*/true));
      batch.hint_share = hint_share;
      MP_ASSIGN_OR_RETURN(const at::Tensor loss,
                          model_.Loss(batch, leaves, batch_statistics, nullptr));
      const double share = static_cast<double>(count) / static_cast<double>(samples.size());
      lane.loss += loss.item<double>() * share;
      if (!loss.requires_grad()) continue;
      lane.has_gradient = true;
      const auto gradients = torch::autograd::grad({loss * share}, wanted, /*grad_outputs=*/{},
                                                   /*retain_graph=*/false, /*create_graph=*/false,
                                                   /*allow_unused=*/true);
      for (size_t i = 0; i < wanted.size(); ++i) lane.gradients[i].Add(gradients[i]);
    }
    return absl::OkStatus();
  }));
  double loss = 0;
  bool has_gradient = false;
  std::vector<Sum> sums(wanted.size());
  for (Lane& lane : lanes) {
    loss += lane.loss;
    has_gradient |= lane.has_gradient;
    for (size_t i = 0; i < sums.size(); ++i) sums[i].Add(lane.gradients[i].tensor());
    lane.gradients.clear();
  }
  if (!has_gradient) {
    return Error(ERROR_REASON_OP_UNSUPPORTED,
                 "no trained weight has an influence on the outputs that has a gradient")
        .Remedy("leave the training out of the recipe");
  }
  // Leaves are the parameters' values, or what those round to with the gradient passing straight through.
  size_t next = 0;
  for (size_t i = 0; i < leaves.size(); ++i) {
    if (!leaves[i].requires_grad()) continue;
    model_.parameters()[i].values().mutable_grad() = std::move(sums[next++]).Take();
  }
  return loss;
}

absl::StatusOr<double> BatchLoss::Judge(uint64_t first, uint64_t end,
                                        const Cancellation& cancellation, Decisions* decisions) {
  const at::NoGradGuard no_gradients;
  const std::vector<at::Tensor> leaves = model_.Leaves();
  const uint64_t each = cut_.samples, parts = (end - first + each - 1) / each;
  std::vector<double> losses(parts);
  std::vector<Decisions> decided(parts);
  MP_RETURN_IF_ERROR(ForEach(parts, [&](size_t p) -> absl::Status {
    const at::NoGradGuard no_gradients_here;
    MP_RETURN_IF_ERROR(cancellation.Check());
    std::vector<uint64_t> samples(std::min(each, end - first - p * each));
    std::iota(samples.begin(), samples.end(), first + p * each);
    MP_ASSIGN_OR_RETURN(const TrainBatch batch, batches_.Gather(samples, /*learning=*/false));
    MP_ASSIGN_OR_RETURN(const at::Tensor loss,
                        model_.Loss(batch, leaves, /*batch_statistics=*/false, &decided[p]));
    losses[p] = loss.item<double>() * static_cast<double>(samples.size());
    return absl::OkStatus();
  }));
  for (const Decisions& part : decided) {
    decisions->positions += part.positions;
    decisions->as_teacher += part.as_teacher;
    decisions->labelled += part.labelled;
    decisions->as_label += part.as_label;
  }
  return std::accumulate(losses.begin(), losses.end(), 0.0) / static_cast<double>(end - first);
}

}  // namespace modelpress::trainer
