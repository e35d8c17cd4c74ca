// Reasons to exit codes; see exit_code.h.
#include "client/terminal/exit_code.h"

namespace modelpress {

ExitCode ExitCodeOf(ErrorReason reason) {
  switch (reason) {
    case ERROR_REASON_REQUEST_INVALID:
    case ERROR_REASON_UNKNOWN_JOB:
    case ERROR_REASON_FILE_ACCESS:
    case ERROR_REASON_OUTPUT_EXISTS:
      return kExitUsage;
    case ERROR_REASON_RECIPE_INVALID:
    case ERROR_REASON_UNKNOWN_PASS:
    case ERROR_REASON_PASS_ORDER:
    case ERROR_REASON_BLOB_TOO_LARGE:
    case ERROR_REASON_MODEL_MALFORMED:
    case ERROR_REASON_FORMAT_UNSUPPORTED:
    case ERROR_REASON_OPSET_UNSUPPORTED:
    case ERROR_REASON_OP_UNSUPPORTED:
    case ERROR_REASON_EXTERNAL_DATA_REJECTED:
    case ERROR_REASON_MODEL_LIMIT:
    case ERROR_REASON_WEIGHT_NOT_FINITE:
    case ERROR_REASON_NOTHING_CHANGED:
    case ERROR_REASON_DATA_INVALID:
    case ERROR_REASON_DATA_NOT_FINITE:
    case ERROR_REASON_DATA_MISSING:
    case ERROR_REASON_TRAINER_MISSING:
    case ERROR_REASON_TRAINING_DIVERGED:
      return kExitBadInput;
    case ERROR_REASON_QUALITY_BOUND_MISSED:
      return kExitQualityMissed;
    case ERROR_REASON_QUEUE_FULL:
    case ERROR_REASON_SCRATCH_FULL:
    case ERROR_REASON_MEMORY_BUDGET:
    case ERROR_REASON_DRAINING:
    case ERROR_REASON_SERVER_UNREACHABLE:
    case ERROR_REASON_PEER_STALLED:
      return kExitNoServer;
    case ERROR_REASON_JOB_CANCELLED:
    case ERROR_REASON_JOB_DEADLINE:
      return kExitCancelled;
    default:
      return kExitInternal;
  }
}

ExitCode ExitCodeOf(const absl::Status& status) {
  return status.ok() ? kExitOk : ExitCodeOf(ReasonOf(status));
}

}  // namespace modelpress
