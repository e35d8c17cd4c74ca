// Time for leases, deadlines and heartbeats; tests turn it by hand.
#pragma once

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace modelpress {

// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual absl::Time Now() const = 0;
};

// The wall clock as it was at construction, moved on by the monotonic one: stepping the machine's clock ends no lease.
class SystemClock final : public Clock {
 public:
  SystemClock();
  absl::Time Now() const override;

 private:
  const absl::Time wall_at_start_;
  const absl::Duration monotonic_at_start_;
};

}  // namespace modelpress
