// How much anonymous memory this process holds.
#pragma once

#include <atomic>
#include <cstdint>

namespace modelpress {

// RssAnon of /proc/self/status in bytes (proc(5)): heap, stacks and anonymous mappings that are
// resident. Mapped files do not count. 0 where it cannot be read.
uint64_t AnonymousMemoryBytes();

// Gives what the heap holds but does not use back to the system, so that a difference of
// AnonymousMemoryBytes() is what was allocated between.
void ReturnFreeMemory();

// The largest value seen so far. Thread-safe.
class PeakMemory {
 public:
  PeakMemory() { Sample(); }
  void Sample();
  uint64_t bytes() const { return peak_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> peak_ = 0;
};

}  // namespace modelpress
