// A RunJob stream, its reading side: see run_job_reactor.h. The writing side is in run_job_writes.cc.
#include "server/rpc/run_job_reactor.h"

#include <algorithm>
#include <utility>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "server/jobs/request_checks.h"

namespace modelpress {
namespace {

constexpr uint64_t kProgressBytes = 8 << 20;
constexpr absl::Duration kProgressInterval = absl::Seconds(1);

Error Violation(std::string_view message) {
  return Error(ERROR_REASON_PROTOCOL_VIOLATION, message);
}

uint64_t BytesOf(const StartJob& start, bool data) {
  uint64_t total = 0;
  for (const Blob& blob : start.blobs()) {
    if ((blob.role() == Blob::ROLE_DATA) == data) total += blob.size_bytes();
  }
  return total;
}

}  // namespace

RunJobReactor* RunJobReactor::Create(const ServiceEnvironment* environment,
                                     StreamRegistry* registry,
                                     grpc::CallbackServerContext* context) {
  std::shared_ptr<RunJobReactor> reactor(new RunJobReactor(environment, registry, context));
  reactor->self_ = reactor;
  registry->Add(reactor.get(), reactor);
  environment->rpc_listener->OnRpcStarted(RpcMethod::kRunJob);
  std::lock_guard lock(reactor->mutex_);
  reactor->Read();
  return reactor.get();
}

RunJobReactor::RunJobReactor(const ServiceEnvironment* environment, StreamRegistry* registry,
                             grpc::CallbackServerContext* context)
    : environment_(environment),
      registry_(registry),
      context_(context),
      created_(environment->clock->Now()),
      last_read_(created_) {}

void RunJobReactor::Read() {
  if (reading_ || reads_done_ || stage_ == Stage::kFinished) return;
  reading_ = true;
  StartRead(&request_);
}

void RunJobReactor::OnReadDone(bool ok) {
  std::lock_guard lock(mutex_);
  reading_ = false;
  if (stage_ == Stage::kFinished) return;
  if (ok) {
    environment_->rpc_listener->OnMessageReceived(RpcMethod::kRunJob);
    last_read_ = environment_->clock->Now();
    HandleMessage();
    return;
  }
  reads_done_ = true;
  HandleHalfClose();
}

// Half-closed by the client, or broken (then OnCancel comes too).
void RunJobReactor::HandleHalfClose() {
  if (stage_ == Stage::kFirstMessage) {
    EndStream(Violation("the stream ended before its first message"));
  } else if (stage_ == Stage::kLingering) {
    EndStream(absl::OkStatus());
  } else if (stage_ == Stage::kUploading && pending_chunks_ == 0 &&
             !environment_->table->Terminal(job_)) {
    // Only when the chunks before it are settled: their own errors say more.
    EndStream(Error(ERROR_REASON_UPLOAD_INCOMPLETE, "the stream ended before finish_upload")
                  .Remedy("resume the job and send the rest"));
  }
}

void RunJobReactor::HandleMessage() {
  const auto kind = request_.message_case();
  if (stage_ == Stage::kFirstMessage) {
    if (kind == RunJobRequest::kStart) {
      stage_ = Stage::kStarting;
      environment_->executor(
          [self = self_, start = std::move(*request_.mutable_start())]() mutable {
            self->Start(std::move(start));
          });
    } else if (kind == RunJobRequest::kResume) {
      stage_ = Stage::kStarting;
      environment_->executor(
          [self = self_, resume = std::move(*request_.mutable_resume())] { self->Resume(resume); });
    } else {
      EndStream(Violation("the first message must be start or resume"));
    }
    return;  // the next message is read when this one is answered
  }
  switch (kind) {
    case RunJobRequest::kChunk:
      HandleChunk(*request_.mutable_chunk());
      break;
    case RunJobRequest::kFinishUpload:
      HandleFinishUpload(request_.finish_upload());
      break;
    case RunJobRequest::kRelease:
      HandleRelease();
      break;
    default:
      EndStream(Violation("start and resume come only as the first message"));
      break;
  }
}

void RunJobReactor::Start(StartJob start) {
  absl::Status status = CheckStart(environment_->limits, &start);
  if (status.ok()) status = environment_->core.validate_recipe(start.spec().recipe());
  if (!status.ok()) {
    environment_->job_listener->OnJobRejected(ReasonOf(status));
    Fail(status);
    return;
  }
  const Plan plan = environment_->core.make_plan(BytesOf(start, false), BytesOf(start, true),
                                                 start.spec().recipe());
  const std::vector<Blob> blobs(start.blobs().begin(), start.blobs().end());
  if (start.validate_only()) {
    status = environment_->table->CheckRoom(blobs, plan);
    std::lock_guard lock(mutex_);
    if (status.ok()) {
      JobAccepted* accepted = outgoing_.emplace_back().mutable_accepted();
      accepted->set_planned_memory_bytes(plan.memory_bytes());
      accepted->set_planned_scratch_bytes(plan.scratch_bytes());
      Pump();
    }
    EndStream(status);
    return;
  }
  const auto started =
      environment_->table->Start(start.spec(), blobs, start.request_id(), plan, shared_from_this());
  if (!started.ok()) {
    Fail(started.status());
    return;
  }
  JoinUpload(started->job);
}

void RunJobReactor::Resume(const ResumeJob& message) {
  absl::StatusOr<JobPtr> job =
      environment_->table->Resume(message.job_id(), message.after_sequence(), shared_from_this());
  if (!job.ok()) {
    Fail(job.status());
    return;
  }
  {
    std::lock_guard lock(mutex_);
    sent_sequence_ = message.after_sequence();
    artifact_offsets_.assign(message.artifact_offsets().begin(), message.artifact_offsets().end());
  }
  JoinUpload(*job);
}

void RunJobReactor::JoinUpload(const JobPtr& job) {
  bool gone = false;
  {
    // From here on the end of the stream detaches the job; if it has ended already, nobody else does.
    std::lock_guard lock(mutex_);
    gone = self_ == nullptr;
    if (!gone) job_ = job;
  }
  if (gone) {
    environment_->table->Detach(job, this);
    return;
  }
  UploadReceiver::Attachment complete;
  for (const Blob& blob : job->blobs) complete.committed.push_back(blob.size_bytes());
  if (environment_->table->upload_finished(job)) {
    Accept(job, complete, /*upload_finished=*/true);
    return;
  }
  job->upload->Attach([self = shared_from_this(), job, complete](const auto& attachment) {
    // Digests that were being compared while this stream came are known by now.
    if (self->environment_->table->upload_finished(job)) {
      self->Accept(job, complete, /*upload_finished=*/true);
    } else if (attachment.ok()) {
      self->Accept(job, *attachment, /*upload_finished=*/false);
    } else {
      self->environment_->table->Forget(job);
      self->environment_->job_listener->OnJobRejected(ReasonOf(attachment.status()));
      self->Fail(attachment.status());
    }
  });
}

void RunJobReactor::Accept(const JobPtr& job, const UploadReceiver::Attachment& attachment,
                           bool upload_finished) {
  RunJobResponse response;
  JobAccepted* accepted = response.mutable_accepted();
  *accepted->mutable_job() = environment_->table->Snapshot(job);
  for (uint64_t committed : attachment.committed) accepted->add_committed_bytes(committed);
  accepted->set_upload_finished(upload_finished);
  accepted->set_planned_memory_bytes(job->planned_memory_bytes);
  accepted->set_planned_scratch_bytes(job->planned_scratch_bytes);

  std::lock_guard lock(mutex_);
  if (stage_ != Stage::kStarting) return;  // cancelled or taken over meanwhile
  generation_ = attachment.generation;
  stage_ = upload_finished ? Stage::kWatching : Stage::kUploading;
  last_read_ = last_progress_ = environment_->clock->Now();
  outgoing_.push_back(std::move(response));
  Pump();
  Read();
}

void RunJobReactor::HandleChunk(Chunk& chunk) {
  if (environment_->table->Terminal(job_)) {  // cancelled, which the client does not know yet
    Read();
    return;
  }
  if (stage_ != Stage::kUploading) {
    EndStream(Violation("a chunk came after finish_upload"));
    return;
  }
  const size_t bytes = chunk.data().size();
  if (bytes > environment_->limits.max_chunk_bytes()) {
    EndStream(Error(ERROR_REASON_BLOB_TOO_LARGE,
                    FormatString("a chunk of {} bytes, over the limit of {}", bytes,
                                 environment_->limits.max_chunk_bytes()))
                  .With("size", std::to_string(bytes))
                  .With("limit", std::to_string(environment_->limits.max_chunk_bytes())));
    return;
  }
  pending_bytes_ += bytes;
  ++pending_chunks_;
  environment_->rpc_listener->OnBytesReceived(bytes);
  job_->upload->Append(generation_, chunk.blob_id(), chunk.offset(),
                       std::move(*chunk.mutable_data()), chunk.crc32c(),
                       [self = self_, blob_id = chunk.blob_id(), bytes](const auto& committed) {
                         self->ChunkWritten(blob_id, bytes, committed);
                       });
  if (pending_bytes_ < kMaxPendingBytes) Read();
}

void RunJobReactor::ChunkWritten(uint32_t blob_id, size_t bytes,
                                 const absl::StatusOr<uint64_t>& committed) {
  std::lock_guard lock(mutex_);
  pending_bytes_ -= bytes;
  --pending_chunks_;
  if (stage_ == Stage::kFinished) return;
  if (!committed.ok()) {
    if (environment_->table->Terminal(job_)) {
      Read();  // the result is on its way and says why
    } else {
      EndStream(committed.status());
    }
    return;
  }
  unreported_bytes_ += bytes;
  const absl::Time now = environment_->clock->Now();
  if (unreported_bytes_ >= kProgressBytes || now - last_progress_ >= kProgressInterval) {
    unreported_bytes_ = 0;
    last_progress_ = now;
    UploadProgress progress;
    progress.set_blob_id(blob_id);
    progress.set_committed_bytes(*committed);
    // What a slow reader has not taken yet is replaced by the news: the queue stays short.
    std::erase_if(outgoing_, [&](const RunJobResponse& waiting) {
      return waiting.has_upload_progress() && waiting.upload_progress().blob_id() == blob_id;
    });
    *outgoing_.emplace_back().mutable_upload_progress() = progress;
    Pump();
  }
  if (pending_bytes_ < kMaxPendingBytes && stage_ == Stage::kUploading) Read();
  if (reads_done_) HandleHalfClose();
}

void RunJobReactor::HandleFinishUpload(const FinishUpload& message) {
  if (stage_ != Stage::kUploading) {
    EndStream(Violation("finish_upload came twice"));
    return;
  }
  stage_ = Stage::kFinishingUpload;
  std::vector<std::string> sha256(message.sha256().begin(), message.sha256().end());
  job_->upload->Finish(generation_, sha256,
                       [self = self_, job = job_, sha256](const absl::Status& status) {
                         // Also if this stream is gone by now: the job has all it needs.
                         if (status.ok()) self->environment_->table->UploadFinished(job, sha256);
                         std::lock_guard lock(self->mutex_);
                         if (self->stage_ != Stage::kFinishingUpload) return;
                         if (!status.ok() && !self->environment_->table->Terminal(job)) {
                           self->EndStream(status);
                           return;
                         }
                         self->stage_ = Stage::kWatching;
                         self->Pump();
                       });
  Read();
}

void RunJobReactor::HandleRelease() {
  if (!environment_->table->Terminal(job_)) {
    EndStream(Violation("release came before the job's result"));
    return;
  }
  environment_->executor([table = environment_->table, job = job_] { table->Forget(job); });
  EndStream(absl::OkStatus());
}

void RunJobReactor::OnTick(absl::Time now) {
  std::lock_guard lock(mutex_);
  if (stage_ == Stage::kFinished) return;
  const absl::Duration stall = absl::Seconds(environment_->limits.stall_seconds());
  if (writing_ && now - write_start_ > stall) {
    // The peer does not read: a status would not reach it either.
    if (!end_status_.has_value())
      end_status_ = Error(ERROR_REASON_PEER_STALLED, "the client does not read");
    context_->TryCancel();
    return;
  }
  const bool its_turn = reading_ && pending_chunks_ == 0 &&
                        (stage_ == Stage::kFirstMessage || stage_ == Stage::kUploading);
  if (its_turn && now - last_read_ > stall) {
    EndStream(Error(ERROR_REASON_PEER_STALLED, FormatString("nothing came for {} seconds",
                                                            environment_->limits.stall_seconds()))
                  .Remedy("resume the job"));
  } else if (stage_ == Stage::kLingering && now - linger_start_ > kLinger) {
    EndStream(absl::OkStatus());
  }
}

}  // namespace modelpress
