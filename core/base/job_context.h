// What every step of a job may use. Made once per job by whoever runs it (server's worker, CLI, tests).
#pragma once

#include <cstdint>

#include "core/base/cancellation.h"
#include "core/base/progress.h"
#include "core/base/scratch.h"
#include "core/base/thread_pool.h"

namespace modelpress {

// Pointers are not owned and outlive the job.
struct JobContext {
  ThreadPool* pool = nullptr;
  Scratch* scratch = nullptr;
  Cancellation* cancellation = nullptr;
  ProgressSink progress;  // may be null
  // Anonymous memory that the job should stay within, bytes; 0: no limit known.
  uint64_t memory_budget_bytes = 0;
};

}  // namespace modelpress
