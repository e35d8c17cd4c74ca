// Cancellation of a job: see cancellation.h.
#include "core/base/cancellation.h"

namespace modelpress {

absl::Status Cancellation::Check() const {
  if (cancelled()) return Error(ERROR_REASON_JOB_CANCELLED, "the job was cancelled");
  if (deadline_.has_value() && std::chrono::steady_clock::now() >= *deadline_) {
    return Error(ERROR_REASON_JOB_DEADLINE, "the job ran longer than its deadline")
        .Remedy("ask for a longer deadline_seconds");
  }
  return absl::OkStatus();
}

}  // namespace modelpress
