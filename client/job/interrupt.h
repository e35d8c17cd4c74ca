// Ctrl-C: the first one cancels and cleans up, the second one ends the program at once.
#pragma once

#include <string>

#include "core/base/cancellation.h"

namespace modelpress {

// Sets the handlers of SIGINT and SIGTERM, once per process, and returns the flag that they set.
Cancellation& InstallInterruptHandler();

// While it lives, a folder that is removed with everything in it when the program must end inside a call that cannot be
// cancelled (the runtime has no way to stop an operator): `seconds` after the first signal the folders of all living
// guards are removed and the program exits with the code for cancelled jobs.
class InterruptGuard {
 public:
  explicit InterruptGuard(std::string folder);
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

 private:
  std::string folder_;
};

}  // namespace modelpress
