// Measuring one sample and two: see samples_per_forward.h.
#include "core/trainer/samples_per_forward.h"

#include <vector>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/trainer/tensor_memory.h"

namespace modelpress::trainer {
namespace {

// What forward and backward of the first samples hold at once.
absl::StatusOr<uint64_t> ForwardBytes(const Batches& batches, TrainedModel& model,
                                      uint64_t samples) {
  std::vector<uint64_t> first(samples);
  for (uint64_t i = 0; i < samples; ++i) first[i] = i % batches.training_samples();
  MP_ASSIGN_OR_RETURN(const TrainBatch batch, batches.Gather(first, /*learning=*/true));
  absl::Status status;
  const uint64_t bytes = PeakTensorBytes([&] {
    const auto loss = model.Loss(batch, /*batch_statistics=*/false, nullptr);
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

absl::StatusOr<uint64_t> SamplesPerForward(const TrainRequest& request, const Batches& batches,
                                           TrainedModel& model) {
  const uint64_t whole = request.samples_per_forward() > 0 ? request.samples_per_forward()
                                                           : request.training().batch_size();
  const uint64_t room = request.activation_bytes();
  if (room == 0) return whole;
  MP_ASSIGN_OR_RETURN(const uint64_t one, ForwardBytes(batches, model, 1));
  if (one > room) return DoesNotFit("one sample", one, room, "");
  if (whole == 1) return whole;
  MP_ASSIGN_OR_RETURN(const uint64_t two, ForwardBytes(batches, model, 2));
  const uint64_t each = two > one ? two - one : 1;
  const uint64_t fit = 1 + (room - one) / each;
  if (fit >= whole) return whole;
  if (request.training().batch_norm_statistics()) {
    return DoesNotFit("a batch, which batch_norm_statistics does not allow to cut,",
                      one + (whole - 1) * each, room, "lower batch_size, or ");
  }
  return fit;
}

}  // namespace modelpress::trainer
