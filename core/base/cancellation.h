// Cancellation: one flag per job that long loops poll. Thread-safe; polling is one relaxed atomic load and, where a
// deadline is set, a look at the clock.
#pragma once

#include <atomic>
#include <chrono>
#include <optional>

#include "core/base/status.h"

namespace modelpress {

class Cancellation {
 public:
  Cancellation() = default;
  Cancellation(const Cancellation&) = delete;
  Cancellation& operator=(const Cancellation&) = delete;

  // Sets the deadline; before the job begins, while no other thread has seen this.
  void EndIn(double seconds);
  void Cancel() { cancelled_.store(true, std::memory_order_relaxed); }
  bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }
  // OK, JOB_CANCELLED or JOB_DEADLINE. Poll it per node and per few MiB of work.
  absl::Status Check() const;
  // Until the deadline; 0 after it, infinite where there is none.
  double SecondsLeft() const;

 private:
  std::atomic<bool> cancelled_ = false;
  std::optional<std::chrono::steady_clock::time_point> deadline_;
};

}  // namespace modelpress
