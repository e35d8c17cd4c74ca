// What happens to the metrics: see metrics.h.
#include <algorithm>

#include "server/observability/metrics.h"

namespace modelpress {

void Metrics::SetGauges(const JobTableStats& stats) {
  uploading_->Set(stats.uploading);
  queued_->Set(stats.queued);
  running_->Set(stats.running);
  finished_->Set(stats.finished);
  detached_->Set(stats.detached);
  oldest_age_->Set(absl::ToDoubleSeconds(stats.oldest_queued));
  memory_reserved_->Set(static_cast<double>(stats.memory_in_use));
  scratch_reserved_->Set(static_cast<double>(stats.scratch_in_use));
  workers_busy_->Set(stats.running);
}

void Metrics::SetDraining() { draining_->Set(1); }

void Metrics::OnJobAccepted(const std::string&, uint64_t declared_bytes) {
  jobs_started_->Increment();
  input_bytes_->Observe(static_cast<double>(declared_bytes));
}

void Metrics::OnJobRejected(ErrorReason reason) {
  if (const auto found = rejected_.find(reason); found != rejected_.end())
    found->second->Increment();
}

void Metrics::OnJobStarted(const std::string&, absl::Duration queued) {
  queue_duration_->Observe(absl::ToDoubleSeconds(queued));
}

void Metrics::OnJobFinished(const FinishedJob& job) {
  if (const auto found = completed_.find({job.state, job.reason}); found != completed_.end()) {
    found->second->Increment();
  }
  total_duration_.at(job.state)->Observe(absl::ToDoubleSeconds(job.total));
  if (job.cancelling > absl::ZeroDuration())
    cancel_latency_->Observe(absl::ToDoubleSeconds(job.cancelling));
  if (!job.ran) return;
  run_duration_.at(job.state)->Observe(absl::ToDoubleSeconds(job.running));
  const Report& report = job.report;
  if (job.artifact_bytes > 0) {
    artifact_bytes_->Observe(static_cast<double>(job.artifact_bytes));
    if (report.original().file_bytes() > 0) {
      compression_ratio_->Observe(static_cast<double>(report.original().file_bytes()) /
                                  static_cast<double>(job.artifact_bytes));
    }
  }
  if (report.peak_anonymous_bytes() > 0 && job.planned_memory_bytes > 0) {
    memory_estimate_error_->Observe(static_cast<double>(report.peak_anonymous_bytes()) /
                                        static_cast<double>(job.planned_memory_bytes) -
                                    1);
  }
  for (const PassReport& pass : report.passes()) {
    const auto found = passes_.find(pass.pass());
    if (found == passes_.end()) continue;
    found->second.duration->Observe(pass.seconds());
    found->second.applied->Increment(pass.changes_size());
    found->second.skipped->Increment(pass.skips_size());
  }
  for (const PhaseTime& phase : report.phases()) {
    if (passes_.contains(phase.name())) continue;
    const auto found = phases_.find(phase.name());
    (found != phases_.end() ? found->second : phases_.at("other"))->Observe(phase.seconds());
  }
}

void Metrics::OnJobAttached(const std::string&, bool upload_unfinished) {
  attached_->Increment();
  if (upload_unfinished) uploads_resumed_->Increment();
}

void Metrics::OnDuplicateRequest() { duplicates_->Increment(); }
void Metrics::OnLeaseExpired(const std::string&) { lease_expired_->Increment(); }

void Metrics::OnRpcStarted(RpcMethod method) {
  rpc_[static_cast<int>(method)].started->Increment();
}

void Metrics::OnRpcFinished(RpcMethod method, absl::StatusCode code, absl::Duration duration) {
  RpcMetrics& rpc = rpc_[static_cast<int>(method)];
  const int index = static_cast<int>(code);
  rpc.handled[index >= 0 && index < kGrpcCodes ? index
                                               : static_cast<int>(absl::StatusCode::kUnknown)]
      ->Increment();
  rpc.duration->Observe(absl::ToDoubleSeconds(duration));
}

void Metrics::OnMessageReceived(RpcMethod method) {
  rpc_[static_cast<int>(method)].received->Increment();
}
void Metrics::OnMessageSent(RpcMethod method) { rpc_[static_cast<int>(method)].sent->Increment(); }
void Metrics::OnBytesReceived(uint64_t bytes) {
  bytes_received_->Increment(static_cast<double>(bytes));
}
void Metrics::OnBytesSent(uint64_t bytes) { bytes_sent_->Increment(static_cast<double>(bytes)); }
void Metrics::OnWriteStalled(absl::Duration duration) {
  write_stall_->Increment(absl::ToDoubleSeconds(duration));
}

}  // namespace modelpress
