// Outcomes and statuses; see job.h.
#include "client/job/job.h"

namespace modelpress {

absl::Status OutcomeStatus(const JobOutcome& outcome) {
  if (!outcome.has_error()) return absl::OkStatus();
  return StatusFromDetail(outcome.error(), outcome.error_message());
}

JobOutcome FailedOutcome(const absl::Status& status) {
  JobOutcome outcome;
  *outcome.mutable_error() = DetailOf(status);
  outcome.set_error_message(std::string(status.message()));
  outcome.set_error_code(static_cast<int>(status.code()));
  return outcome;
}

}  // namespace modelpress
