// The system's clock: see clock.h.
#include "server/jobs/clock.h"

#include <chrono>

namespace modelpress {
namespace {

absl::Duration Monotonic() {
  return absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

}  // namespace

SystemClock::SystemClock() : wall_at_start_(absl::Now()), monotonic_at_start_(Monotonic()) {}

absl::Time SystemClock::Now() const { return wall_at_start_ + (Monotonic() - monotonic_at_start_); }

}  // namespace modelpress
