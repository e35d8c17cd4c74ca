// Log lines about jobs: see job_log.h.
#include "server/observability/job_log.h"

#include "server/observability/log.h"

namespace modelpress {
namespace {

// What is the server's fault, or its machine's.
bool IsServerFault(ErrorReason reason) {
  switch (reason) {
    case ERROR_REASON_INTERNAL_BUG:
    case ERROR_REASON_WORKER_CRASHED:
    case ERROR_REASON_WORKER_OUT_OF_MEMORY:
    case ERROR_REASON_DISK_FULL:
    case ERROR_REASON_RUNTIME_FAILED:
    case ERROR_REASON_ARTIFACT_REJECTED:
      return true;
    default:
      return false;
  }
}

}  // namespace

void JobLog::OnJobAccepted(const std::string& job_id, uint64_t declared_bytes) {
  LogLine(LogSeverity::kInfo, "job_accepted")
      .Add("job_id", job_id)
      .Add("declared_bytes", declared_bytes);
  next_->OnJobAccepted(job_id, declared_bytes);
}

void JobLog::OnJobRejected(ErrorReason reason) {
  LogLine(LogSeverity::kInfo, "job_rejected").Add("reason", ReasonName(reason));
  next_->OnJobRejected(reason);
}

void JobLog::OnJobStarted(const std::string& job_id, absl::Duration queued) {
  LogLine(LogSeverity::kInfo, "job_started")
      .Add("job_id", job_id)
      .Add("queued_seconds", absl::ToDoubleSeconds(queued));
  next_->OnJobStarted(job_id, queued);
}

void JobLog::OnJobFinished(const FinishedJob& job) {
  LogLine line(IsServerFault(job.reason) ? LogSeverity::kError : LogSeverity::kInfo,
               "job_finished");
  line.Add("job_id", job.job_id)
      .Add("state", v1::Job::State_Name(job.state))
      .Add("running_seconds", absl::ToDoubleSeconds(job.running))
      .Add("total_seconds", absl::ToDoubleSeconds(job.total))
      .Add("input_bytes", job.input_bytes)
      .Add("artifact_bytes", job.artifact_bytes)
      .Add("planned_memory_bytes", job.planned_memory_bytes)
      .Add("peak_memory_bytes", job.report.peak_anonymous_bytes());
  if (job.reason != ERROR_REASON_UNSPECIFIED) line.Add("reason", ReasonName(job.reason));
  next_->OnJobFinished(job);
}

void JobLog::OnJobAttached(const std::string& job_id, bool upload_unfinished) {
  LogLine(LogSeverity::kInfo, "job_attached")
      .Add("job_id", job_id)
      .Add("upload_unfinished", upload_unfinished);
  next_->OnJobAttached(job_id, upload_unfinished);
}

void JobLog::OnDuplicateRequest() {
  LogLine(LogSeverity::kInfo, "duplicate_request");
  next_->OnDuplicateRequest();
}

void JobLog::OnLeaseExpired(const std::string& job_id) {
  LogLine(LogSeverity::kWarning, "lease_expired").Add("job_id", job_id);
  next_->OnLeaseExpired(job_id);
}

}  // namespace modelpress
