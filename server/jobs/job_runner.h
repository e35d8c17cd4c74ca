// What carries a job out: a worker process in modelpressd, something simpler in tests.
#pragma once

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "modelpress/v1/report.pb.h"
#include "modelpress/v1/worker.pb.h"

namespace modelpress {

// A job under way. Not thread-safe but for Cancel.
class RunningJob {
 public:
  virtual ~RunningJob() = default;
  // Blocks until the job ends. `progress` is called on this thread.
  virtual v1::JobOutcome Wait(const std::function<void(const v1::Progress&)>& progress) = 0;
  // Ends the job within a second from any point. Returns at once; may be called again.
  virtual void Cancel() = 0;
};

// Thread-safe.
class JobRunner {
 public:
  virtual ~JobRunner() = default;
  virtual absl::StatusOr<std::unique_ptr<RunningJob>> Start(const v1::WorkerRequest& request) = 0;
};

}  // namespace modelpress
