// Exit codes of the program: the one place where reasons become numbers that scripts rely on.
#pragma once

#include "core/base/status.h"

namespace modelpress {

enum ExitCode : int {
  kExitOk = 0,
  kExitInternal = 1,  // a defect, or a failing machine
  kExitUsage = 2,     // the command line cannot be carried out as it stands
  kExitBadInput = 3,  // the model, recipe or data is at fault
  kExitQualityMissed = 4,
  kExitNoServer = 5,  // unreachable or overloaded, after retries
  kExitCancelled = 6,
};

ExitCode ExitCodeOf(ErrorReason reason);
ExitCode ExitCodeOf(const absl::Status& status);

}  // namespace modelpress
