// Jobs in a process of their own: a crash, running out of memory or a SIGBUS there is a typed error of that job and
// nothing else, and cancelling works at any point, also inside the runtime, by killing it.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "core/base/status.h"
#include "modelpress/v1/worker.pb.h"

namespace modelpress {

class ChildProcess;

// The worker's side: reads one WorkerRequest from `input`, runs the recipe, writes WorkerEvents to `output`. Returns the
// process's exit code. Closing of `input` by the parent cancels the job (a dead server leaves no workers behind).
int WorkerMain(int input, int output);

// The parent's side. Not thread-safe but for Cancel.
class WorkerProcess {
 public:
  // Starts `program` with "--worker". `program` is usually /proc/self/exe.
  static absl::StatusOr<std::unique_ptr<WorkerProcess>> Start(const std::string& program,
                                                              const WorkerRequest& request);
  ~WorkerProcess();

  // Blocks until the worker ends, handing each progress event to `progress`. WORKER_CRASHED, WORKER_OUT_OF_MEMORY,
  // JOB_CANCELLED and JOB_DEADLINE come as the outcome's error.
  JobOutcome Wait(const std::function<void(const Progress&)>& progress);
  // Asks for the end, and kills the process group after `grace_seconds`. Returns at once; thread-safe.
  void Cancel(double grace_seconds = 0.5);
  int pid() const;

 private:
  explicit WorkerProcess(std::unique_ptr<ChildProcess> child);
  std::unique_ptr<ChildProcess> child_;
};

}  // namespace modelpress
