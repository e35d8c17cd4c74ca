// Logs what happens to jobs, and passes it on.
#pragma once

#include "server/jobs/job_listener.h"

namespace modelpress {

class JobLog final : public JobListener {
 public:
  // `next` outlives this.
  explicit JobLog(JobListener* next) : next_(next) {}

  void OnJobAccepted(const std::string& job_id, uint64_t declared_bytes) override;
  void OnJobRejected(ErrorReason reason) override;
  void OnJobStarted(const std::string& job_id, absl::Duration queued) override;
  void OnJobFinished(const FinishedJob& job) override;
  void OnJobAttached(const std::string& job_id, bool upload_unfinished) override;
  void OnDuplicateRequest() override;
  void OnLeaseExpired(const std::string& job_id) override;

 private:
  JobListener* const next_;
};

}  // namespace modelpress
