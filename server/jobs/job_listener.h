// What the job table tells to whoever counts and logs. Every method is called outside the table's lock, from any thread,
// and must not block.
#pragma once

#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "core/base/status.h"
#include "modelpress/v1/job.pb.h"

namespace modelpress {

struct FinishedJob {
  std::string job_id;
  v1::Job::State state = v1::Job::STATE_UNSPECIFIED;
  // Why it failed; UNSPECIFIED where it did not.
  ErrorReason reason = ERROR_REASON_UNSPECIFIED;
  bool ran = false;
  absl::Duration queued;  // upload finished to start
  absl::Duration running;
  absl::Duration total;  // accepted to end
  // From the request for cancellation to the end; zero where there was none.
  absl::Duration cancelling;
  uint64_t input_bytes = 0;
  uint64_t artifact_bytes = 0;
  uint64_t planned_memory_bytes = 0;
  v1::Report report;
};

class JobListener {
 public:
  virtual ~JobListener() = default;
  virtual void OnJobAccepted(const std::string& /*job_id*/, uint64_t /*declared_bytes*/) {}
  virtual void OnJobRejected(ErrorReason /*reason*/) {}
  virtual void OnJobStarted(const std::string& /*job_id*/, absl::Duration /*queued*/) {}
  virtual void OnJobFinished(const FinishedJob& /*job*/) {}
  virtual void OnJobAttached(const std::string& /*job_id*/, bool /*upload_unfinished*/) {}
  virtual void OnDuplicateRequest() {}
  virtual void OnLeaseExpired(const std::string& /*job_id*/) {}
};

}  // namespace modelpress
