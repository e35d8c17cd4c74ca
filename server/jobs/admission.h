// Whether there is room for a job: a pure ledger of scratch bytes, memory and places, decided from declared sizes and
// the plan before the first byte is sent. No threads, no clock, no disk.
//
// Scratch and a place are taken when a job is accepted; memory when it starts to run. So jobs wait for memory in the
// queue, and only one that could never fit is refused for it. Not thread-safe: the job table guards it.
#pragma once

#include <cstdint>

#include "absl/status/status.h"

namespace modelpress {

struct AdmissionLimits {
  uint64_t memory_bytes = 0;
  uint64_t scratch_bytes = 0;
  uint32_t workers = 1;
  uint32_t max_queued_jobs = 2;
};

class Admission {
 public:
  explicit Admission(AdmissionLimits limits) : limits_(limits) {}

  // Takes a place and `scratch_bytes`. MEMORY_BUDGET or SCRATCH_FULL without remedy in time ("never" in the metadata)
  // if the job is larger than the whole server; QUEUE_FULL, SCRATCH_FULL if it is only full now.
  absl::Status Accept(uint64_t memory_bytes, uint64_t scratch_bytes);
  // Takes memory for a job that is about to run; false: not yet. A job alone always fits (Accept has checked).
  bool StartRunning(uint64_t memory_bytes);
  void StopRunning(uint64_t memory_bytes);
  // The job needs no worker any more: its place is free for another one; its scratch bytes stay taken.
  void LeavePlace();
  void ReleaseScratch(uint64_t scratch_bytes);

  // What the worker of such a job may use: its plan, or an equal share of the budget if that is more.
  uint64_t WorkerMemoryLimit(uint64_t planned_bytes) const;

  const AdmissionLimits& limits() const { return limits_; }
  uint64_t memory_in_use() const { return memory_in_use_; }
  uint64_t scratch_in_use() const { return scratch_in_use_; }
  uint32_t places_in_use() const { return places_in_use_; }

 private:
  AdmissionLimits limits_;
  uint64_t memory_in_use_ = 0;
  uint64_t scratch_in_use_ = 0;
  uint32_t places_in_use_ = 0;
};

}  // namespace modelpress
