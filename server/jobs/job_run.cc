// The life of a job between its upload and its end: see job_table.h.
#include <algorithm>
#include <utility>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "server/jobs/job_table.h"
#include "server/jobs/outbox.h"
#include "server/jobs/rpc_status.h"
#include "server/transfer/artifact.h"

namespace modelpress {
namespace {

// A result must fit into one message of 4 MiB beside everything else.
constexpr size_t kMaxResultBytes = 3 << 20;
constexpr int kRowsKept = 100;

// A report that is too large loses rows of its longest lists, and says so.
void FitIntoMessage(JobResult* result) {
  if (result->ByteSizeLong() <= kMaxResultBytes) return;
  for (PassReport& pass : *result->mutable_report()->mutable_passes()) {
    const int dropped =
        std::max(0, pass.changes_size() - kRowsKept) + std::max(0, pass.skips_size() - kRowsKept);
    if (dropped == 0) continue;
    if (pass.changes_size() > kRowsKept) {
      pass.mutable_changes()->DeleteSubrange(kRowsKept, pass.changes_size() - kRowsKept);
    }
    if (pass.skips_size() > kRowsKept) {
      pass.mutable_skips()->DeleteSubrange(kRowsKept, pass.skips_size() - kRowsKept);
    }
    pass.add_notes(
        FormatString("{} more rows are left out: the report is too large to send", dropped));
  }
  if (result->ByteSizeLong() <= kMaxResultBytes) return;
  // Names of absurd length: only what is counted and measured stays.
  result->mutable_report()->clear_passes();
  result->mutable_report()->clear_recipe();
  result->mutable_report()->add_notes("the reports of the passes are too large to send");
}

absl::Status StatusOf(const JobOutcome& outcome) {
  if (!outcome.has_error()) return absl::OkStatus();
  return StatusFromDetail(outcome.error(), outcome.error_message());
}

bool IsWanted(const JobRecord& job) { return job.end_reason.ok() && !job.forgotten; }

}  // namespace

void JobTable::UploadFinished(const JobPtr& job, std::vector<std::string> sha256) {
  Outbox outbox;
  std::lock_guard lock(mutex_);
  if (job->terminal() || job->upload_finished) return;
  job->upload_finished = true;
  job->sha256 = std::move(sha256);
  job->upload_end = clock_->Now();
  job->phase = "queued";
  queue_.push_back(job);
  job->queue_position = static_cast<uint32_t>(queue_.size());
  AppendEvent(job, outbox);
  work_.notify_one();
}

JobPtr JobTable::TakeJob() {
  JobPtr job;
  Outbox outbox;
  std::unique_lock lock(mutex_);
  // In order: a large job at the head is not overtaken for ever by small ones.
  work_.wait(lock, [this] {
    return stopping_ ||
           (!queue_.empty() && admission_.StartRunning(queue_.front()->planned_memory_bytes));
  });
  if (stopping_) return nullptr;
  job = queue_.front();
  queue_.pop_front();
  job->state = Job::STATE_RUNNING;
  job->phase = "starting";
  job->queue_position = 0;
  job->start = clock_->Now();
  AppendEvent(job, outbox);
  UpdateQueuePositions(outbox);
  outbox.Add([this, job, queued = job->start - job->upload_end] {
    listener_->OnJobStarted(job->id, queued);
  });
  if (!queue_.empty()) work_.notify_one();
  return job;
}

namespace {

// Where the request has the file of a blob that is no data.
WorkerRequest::File* PlaceFor(Blob::Role role, WorkerRequest* request) {
  switch (role) {
    case Blob::ROLE_MODEL:
      return request->mutable_model();
    case Blob::ROLE_STUDENT:
      return request->mutable_student();
    case Blob::ROLE_GRAPH:
      return request->mutable_graph();
    default:
      return request->add_sidecars();
  }
}

}  // namespace

WorkerRequest JobTable::RequestFor(const JobPtr& job) const {
  WorkerRequest request;
  for (size_t i = 0; i < job->blobs.size(); ++i) {
    const Blob& blob = job->blobs[i];
    if (blob.role() == Blob::ROLE_DATA) {
      request.set_data_path(job->upload->path(i));
      continue;
    }
    WorkerRequest::File* file = PlaceFor(blob.role(), &request);
    file->set_name(blob.name());
    file->set_path(job->upload->path(i));
    std::lock_guard lock(mutex_);
    file->set_sha256(job->sha256[i]);
  }
  *request.mutable_recipe() = job->spec.recipe();
  request.set_output_folder(job->folder + "/out");
  request.set_output_name(job->spec.output_name().empty() ? "model.onnx" : job->spec.output_name());
  request.set_scratch_folder(job->folder + "/work");
  request.set_scratch_quota_bytes(job->planned_scratch_bytes);
  request.set_threads(options_.threads_per_worker);
  request.set_memory_limit_bytes(admission_.WorkerMemoryLimit(job->planned_memory_bytes));
  request.set_deadline_seconds(job->spec.deadline_seconds());
  return request;
}

void JobTable::RunStarted(const JobPtr& job, std::function<void()> cancel) {
  bool ended = false;
  {
    std::lock_guard lock(mutex_);
    job->cancel_worker = cancel;
    ended = !job->end_reason.ok();
  }
  if (ended) cancel();
}

void JobTable::RunProgress(const JobPtr& job, const Progress& progress) {
  Outbox outbox;
  std::lock_guard lock(mutex_);
  if (job->terminal()) return;
  const bool new_phase = job->phase != progress.phase();
  job->phase = progress.phase();
  job->phase_fraction = progress.phase_fraction();
  job->total_fraction = std::max(job->total_fraction, progress.total_fraction());
  job->detail = progress.detail();
  if (new_phase || clock_->Now() - job->last_event >= kProgressInterval) {
    AppendEvent(job, outbox);
  } else {
    job->unreported_progress = true;  // the next Tick sends it
  }
}

void JobTable::RunFinished(const JobPtr& job, JobOutcome outcome) {
  absl::Status status = StatusOf(outcome);
  absl::StatusOr<std::vector<std::shared_ptr<const MappedFile>>> artifact =
      MapArtifact(job->folder + "/out", outcome.files());
  if (!artifact.ok() && status.ok()) status = artifact.status();
  uint64_t artifact_bytes = 0;
  if (artifact.ok()) {
    for (const auto& file : *artifact) artifact_bytes += file->size();
  }
  Outbox outbox;
  std::lock_guard lock(mutex_);
  job->cancel_worker = nullptr;
  admission_.StopRunning(job->planned_memory_bytes);
  const uint64_t kept = std::min(artifact_bytes, job->reserved_scratch_bytes);
  const uint64_t freed = std::exchange(job->reserved_scratch_bytes, kept) - kept;
  *job->result.mutable_report() = std::move(*outcome.mutable_report());
  if (IsWanted(*job) && artifact.ok()) {
    *job->result.mutable_files() = std::move(*outcome.mutable_files());
    job->artifact = *std::move(artifact);
  } else if (!job->end_reason.ok()) {
    status = job->end_reason;
  }
  SetTerminal(job, status, outbox);
  outbox.Add([this, job, freed] { RemoveInputs(job, freed); });
  if (job->forgotten) outbox.Add([this, job] { RemoveFolder(job); });
  work_.notify_all();
}

absl::StatusOr<Job> JobTable::Cancel(const std::string& job_id) {
  Outbox outbox;
  std::lock_guard lock(mutex_);
  const JobPtr job = Find(job_id);
  if (job == nullptr) return UnknownJob(job_id);
  if (!job->terminal()) {
    End(job, Error(ERROR_REASON_JOB_CANCELLED, "the job was cancelled"), outbox);
  }
  return SnapshotLocked(*job);
}

// Before its run a job ends here and now; a running one when its worker is gone.
void JobTable::End(const JobPtr& job, const absl::Status& reason, Outbox& outbox) {
  if (!job->end_reason.ok()) return;
  job->end_reason = Annotate(reason, "phase", job->phase);
  job->end_requested = clock_->Now();
  if (job->state == Job::STATE_RUNNING) {
    if (job->cancel_worker) outbox.Add(job->cancel_worker);
    return;
  }
  std::erase(queue_, job);
  UpdateQueuePositions(outbox);
  SetTerminal(job, job->end_reason, outbox);
  work_.notify_one();  // the new head of the queue may fit
  if (job->forgotten) return;
  // The bytes go now, the record stays to tell of the end.
  outbox.Add([this, job] { RemoveFolder(job); });
}

void JobTable::SetTerminal(const JobPtr& job, const absl::Status& status, Outbox& outbox) {
  const bool ran = job->state == Job::STATE_RUNNING;
  const ErrorReason reason = ReasonOf(status);
  job->end = clock_->Now();
  job->state = status.ok()                            ? Job::STATE_SUCCEEDED
               : reason == ERROR_REASON_JOB_CANCELLED ? Job::STATE_CANCELLED
                                                      : Job::STATE_FAILED;
  if (status.ok()) {
    job->phase = "done";
    job->phase_fraction = job->total_fraction = 1;
  }
  job->detail.clear();
  job->queue_position = 0;
  FinishedJob finished;
  finished.report = job->result.report();
  *job->result.mutable_status() = ToRpcStatus(status);
  FitIntoMessage(&job->result);
  AppendEvent(job, outbox);
  admission_.LeavePlace();

  finished.job_id = job->id;
  finished.state = job->state;
  finished.reason = reason;
  finished.ran = ran;
  if (ran) {
    finished.queued = job->start - job->upload_end;
    finished.running = job->end - job->start;
  }
  finished.total = job->end - job->created;
  if (job->end_requested != absl::InfiniteFuture()) {
    finished.cancelling = job->end - job->end_requested;
  }
  finished.input_bytes = job->declared_bytes;
  for (const ArtifactFile& file : job->result.files()) finished.artifact_bytes += file.size_bytes();
  finished.planned_memory_bytes = job->planned_memory_bytes;
  outbox.Add([this, finished = std::move(finished)] { listener_->OnJobFinished(finished); });
}

void JobTable::SetDraining() {
  std::lock_guard lock(mutex_);
  draining_ = true;
}

void JobTable::EndAll() {
  Outbox outbox;
  std::lock_guard lock(mutex_);
  const std::map<uint64_t, JobPtr> jobs = jobs_;
  for (const auto& [number, job] : jobs) {
    if (job->terminal()) continue;
    End(job,
        Error(ERROR_REASON_DRAINING, "the server shut down before the job was finished")
            .Remedy("submit it again"),
        outbox);
  }
}

void JobTable::Stop() {
  std::lock_guard lock(mutex_);
  stopping_ = true;
  work_.notify_all();
}

}  // namespace modelpress
