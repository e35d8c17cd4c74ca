// Measuring one sample and two: see batch_cut.h.
#include "core/trainer/batch_cut.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/trainer/tensor_memory.h"

namespace modelpress::trainer {
namespace {

// Below that, what a part costs beside its samples is more than a second thread gains: halves of 100 digits cost a tenth
// on one thread and take 0.59 of the time on two, quarters a quarter and 0.52.
constexpr uint64_t kLeastPartBytes = 4 << 20;

// What forward and backward of the first samples hold at once.
absl::StatusOr<uint64_t> ForwardBytes(const Batches& batches, TrainedModel& model,
                                      uint64_t samples) {
  std::vector<uint64_t> first(samples);
  for (uint64_t i = 0; i < samples; ++i) first[i] = i % batches.training_samples();
  MP_ASSIGN_OR_RETURN(const TrainBatch batch, batches.Gather(first, /*learning=*/true));
  const std::vector<at::Tensor> leaves = model.Leaves();
  absl::Status status;
  const uint64_t bytes = PeakTensorBytes([&] {
    const auto loss = model.Loss(batch, leaves, /*batch_statistics=*/false, nullptr);
    status = loss.status();
    if (loss.ok() && loss->requires_grad()) loss->backward();
  });
  for (Parameter& parameter : model.parameters()) parameter.values().mutable_grad() = at::Tensor();
  if (!status.ok()) return status;
  return bytes;
}

absl::Status DoesNotFit(std::string_view what, uint64_t bytes, uint64_t room,
                        std::string_view remedy) {
  return Error(ERROR_REASON_MEMORY_BUDGET,
               FormatString("training with {} needs {} MiB for activations and gradients, of "
                            "which there are {}",
                            what, bytes >> 20, room >> 20))
      .With("needed", std::to_string(bytes))
      .With("available", std::to_string(room))
      .Remedy(FormatString("{}give the job more memory", remedy));
}

}  // namespace

absl::StatusOr<BatchCut> CutBatch(const TrainRequest& request, const Batches& batches,
                                  TrainedModel& model) {
  const bool whole = request.training().batch_norm_statistics();
  const uint64_t batch = request.training().batch_size();
  const uint64_t room = request.activation_bytes() > 0 ? request.activation_bytes()
                                                       : std::numeric_limits<uint64_t>::max();
  BatchCut cut{.samples = batch, .at_once = whole ? 1 : kLanes};
  if (request.samples_per_forward() > 0) {
    cut.samples = std::min<uint64_t>(cut.samples, request.samples_per_forward());
  }
  MP_ASSIGN_OR_RETURN(const uint64_t one, ForwardBytes(batches, model, 1));
  if (one > room) return DoesNotFit("one sample", one, room, "");
  uint64_t each = one;
  if (cut.samples > 1) {
    MP_ASSIGN_OR_RETURN(const uint64_t two, ForwardBytes(batches, model, 2));
    each = two > one ? two - one : 1;
    uint64_t parts = 1;
    while (!whole && parts < kLanes && cut.samples * each / (2 * parts) >= kLeastPartBytes) {
      parts *= 2;
    }
    cut.samples = (cut.samples + parts - 1) / parts;
  }
  const uint64_t needed = one + (cut.samples - 1) * each;
  if (whole && needed > room) {
    return DoesNotFit("a batch, which batch_norm_statistics does not allow to cut,", needed, room,
                      "lower batch_size, or ");
  }
  const uint64_t lane = room / cut.at_once;
  cut.samples = std::min(cut.samples, lane > one ? 1 + (lane - one) / each : 1);
  cut.at_once = std::min(cut.at_once, room / (one + (cut.samples - 1) * each));
  return cut;
}

}  // namespace modelpress::trainer
