// The threads that run jobs: each takes one job at a time and waits for its worker.
#pragma once

#include <cstddef>
#include <thread>
#include <vector>

#include "server/jobs/job_runner.h"
#include "server/jobs/job_table.h"

namespace modelpress {

class WorkerSlots {
 public:
  // The pointers outlive the object.
  WorkerSlots(size_t count, JobTable* table, JobRunner* runner);
  // Waits for the running jobs; call JobTable::Stop (and EndAll) first.
  ~WorkerSlots();
  WorkerSlots(const WorkerSlots&) = delete;
  WorkerSlots& operator=(const WorkerSlots&) = delete;

 private:
  void Work();

  JobTable* const table_;
  JobRunner* const runner_;
  std::vector<std::thread> threads_;
};

}  // namespace modelpress
