// Room for jobs: see admission.h.
#include "server/jobs/admission.h"

#include <algorithm>
#include <string>

#include "absl/log/check.h"
#include "core/base/format_string.h"
#include "core/base/status.h"

namespace modelpress {
namespace {

Error NoRoom(ErrorReason reason, std::string_view what, uint64_t needed, uint64_t available) {
  return Error(reason, FormatString("the job needs {} bytes of {}, and {} are left", needed, what,
                                    available))
      .With("needed", std::to_string(needed))
      .With("available", std::to_string(available));
}

}  // namespace

absl::Status Admission::Accept(uint64_t memory_bytes, uint64_t scratch_bytes) {
  if (memory_bytes > limits_.memory_bytes) {
    return NoRoom(ERROR_REASON_MEMORY_BUDGET, "memory", memory_bytes, limits_.memory_bytes)
        .With("never", "true")
        .Remedy("use a server with more memory");
  }
  if (scratch_bytes > limits_.scratch_bytes) {
    return NoRoom(ERROR_REASON_SCRATCH_FULL, "scratch space", scratch_bytes, limits_.scratch_bytes)
        .With("never", "true")
        .Remedy("use a server with a larger scratch folder");
  }
  if (places_in_use_ >= limits_.workers + limits_.max_queued_jobs) {
    return Error(ERROR_REASON_QUEUE_FULL,
                 FormatString("{} jobs run or wait already, which is all this server takes",
                              places_in_use_))
        .Remedy("try again later or at another server");
  }
  const uint64_t available =
      limits_.scratch_bytes - std::min(scratch_in_use_, limits_.scratch_bytes);
  if (scratch_bytes > available) {
    return NoRoom(ERROR_REASON_SCRATCH_FULL, "scratch space", scratch_bytes, available)
        .Remedy("try again later or at another server");
  }
  scratch_in_use_ += scratch_bytes;
  ++places_in_use_;
  return absl::OkStatus();
}

bool Admission::StartRunning(uint64_t memory_bytes) {
  if (memory_bytes > limits_.memory_bytes - memory_in_use_) return false;
  memory_in_use_ += memory_bytes;
  return true;
}

void Admission::StopRunning(uint64_t memory_bytes) {
  CHECK_GE(memory_in_use_, memory_bytes);
  memory_in_use_ -= memory_bytes;
}

void Admission::LeavePlace() {
  CHECK_GT(places_in_use_, 0u);
  --places_in_use_;
}

void Admission::ReleaseScratch(uint64_t scratch_bytes) {
  CHECK_GE(scratch_in_use_, scratch_bytes);
  scratch_in_use_ -= scratch_bytes;
}

uint64_t Admission::WorkerMemoryLimit(uint64_t planned_bytes) const {
  return std::max(planned_bytes, limits_.memory_bytes / std::max(limits_.workers, 1u));
}

}  // namespace modelpress
