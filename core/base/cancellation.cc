// Cancellation of a job: see cancellation.h.
#include "core/base/cancellation.h"

#include <algorithm>
#include <limits>

namespace modelpress {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

// 31 years: the clock's nanoseconds hold that.
constexpr double kMostSeconds = 1e9;

}  // namespace

void Cancellation::EndIn(double seconds) {
  deadline_ = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                 Seconds(std::clamp(seconds, 0.0, kMostSeconds)));
}

double Cancellation::SecondsLeft() const {
  if (!deadline_.has_value()) return std::numeric_limits<double>::infinity();
  return std::max(0.0, Seconds(*deadline_ - Clock::now()).count());
}

absl::Status Cancellation::Check() const {
  if (cancelled()) return Error(ERROR_REASON_JOB_CANCELLED, "the job was cancelled");
  if (deadline_.has_value() && Clock::now() >= *deadline_) {
    return Error(ERROR_REASON_JOB_DEADLINE, "the job ran longer than its deadline")
        .Remedy("ask for a longer deadline_seconds");
  }
  return absl::OkStatus();
}

}  // namespace modelpress
