// A RunJob stream, its writing side and its end: see run_job_reactor.h.
#include <utility>

#include "core/base/status.h"
#include "server/jobs/rpc_status.h"
#include "server/rpc/grpc_status.h"
#include "server/rpc/run_job_reactor.h"

namespace modelpress {
namespace {

constexpr size_t kEventsAtOnce = 32;
// A write that takes longer has waited for its reader.
constexpr absl::Duration kQuickWrite = absl::Seconds(1);

}  // namespace

void RunJobReactor::OnJobChanged() {
  std::lock_guard lock(mutex_);
  Pump();
}

void RunJobReactor::OnTakenOver() { Fail(absl::AbortedError("a newer stream took the job over")); }

// Writes the next message, if there is one and none is in flight.
void RunJobReactor::Pump() {
  if (writing_ || end_status_.has_value() || stage_ == Stage::kFinished) return;
  if (!NextResponse()) return;
  writing_ = true;
  write_start_ = environment_->clock->Now();
  StartWrite(&response_);
}

// Puts what goes next into response_: answers first, then events, then the artifact.
bool RunJobReactor::NextResponse() {
  if (!outgoing_.empty()) {
    response_ = std::move(outgoing_.front());
    outgoing_.pop_front();
    return true;
  }
  if (job_ == nullptr || stage_ == Stage::kStarting || stage_ == Stage::kLingering) return false;
  if (!result_sent_) {
    // Asked before the events are: a job that ends in between has a result that is still to be sent.
    const bool terminal = environment_->table->Terminal(job_);
    if (events_.empty()) {
      for (JobEvent& event :
           environment_->table->EventsAfter(job_, sent_sequence_, kEventsAtOnce)) {
        events_.push_back(std::move(event));
      }
    }
    if (!events_.empty()) {
      *response_.mutable_event() = std::move(events_.front());
      events_.pop_front();
      sent_sequence_ = response_.event().sequence();
      result_sent_ = response_.event().has_result();
      return true;
    }
    // A client that has seen the result already goes on with the artifact.
    if (!terminal) return false;
    result_sent_ = true;
  }
  if (artifact_ == nullptr) {
    artifact_ = std::make_shared<ArtifactReader>(environment_->table->Artifact(job_),
                                                 environment_->limits.preferred_chunk_bytes());
    if (absl::Status status = artifact_->Seek(artifact_offsets_); !status.ok()) {
      EndStream(status);
      return false;
    }
  }
  if (artifact_chunk_.has_value()) {
    response_ = std::move(*artifact_chunk_);
    artifact_chunk_.reset();
    environment_->rpc_listener->OnBytesSent(response_.artifact_chunk().data().size());
    PrepareArtifactChunk();
    return true;
  }
  if (!artifact_end_) {
    PrepareArtifactChunk();
    return false;
  }
  stage_ = Stage::kLingering;
  linger_start_ = environment_->clock->Now();
  if (reads_done_) EndStream(absl::OkStatus());
  return false;
}

// Copies and checksums the next chunk beside the write in flight: its pages may have to come from the disk.
void RunJobReactor::PrepareArtifactChunk() {
  if (preparing_ || artifact_end_) return;
  preparing_ = true;
  environment_->executor([self = self_, reader = artifact_] {
    std::optional<ArtifactChunk> next = reader->Next();
    std::optional<RunJobResponse> response;
    if (next.has_value()) {
      Chunk* chunk = response.emplace().mutable_artifact_chunk();
      chunk->set_blob_id(next->file_index);
      chunk->set_offset(next->offset);
      chunk->set_data(std::move(next->data));
      chunk->set_crc32c(next->crc32c);
    }
    std::lock_guard lock(self->mutex_);
    self->preparing_ = false;
    self->artifact_end_ = !response.has_value();
    self->artifact_chunk_ = std::move(response);
    self->Pump();
  });
}

void RunJobReactor::OnWriteDone(bool ok) {
  std::lock_guard lock(mutex_);
  writing_ = false;
  const absl::Duration took = environment_->clock->Now() - write_start_;
  if (took > kQuickWrite) environment_->rpc_listener->OnWriteStalled(took);
  if (ok) environment_->rpc_listener->OnMessageSent(RpcMethod::kRunJob);
  if (end_status_.has_value()) {
    EndStream(*end_status_);
  } else if (!ok) {
    EndStream(absl::CancelledError("the stream broke"));
  } else {
    Pump();
  }
}

void RunJobReactor::OnCancel() { Fail(absl::CancelledError("the stream broke")); }

void RunJobReactor::Fail(const absl::Status& status) {
  std::lock_guard lock(mutex_);
  EndStream(status);
}

// Ends the stream after the write in flight. The first reason counts.
void RunJobReactor::EndStream(const absl::Status& status) {
  if (stage_ == Stage::kFinished) return;
  if (!end_status_.has_value()) end_status_ = status;
  if (writing_) return;
  stage_ = Stage::kFinished;
  if (const auto delay = RetryDelay(*end_status_); delay.has_value()) {
    // gRPC's own retry policy listens to this (gRFC A6).
    context_->AddTrailingMetadata("grpc-retry-pushback-ms",
                                  std::to_string(absl::ToInt64Milliseconds(*delay)));
  }
  Finish(ToGrpcStatus(*end_status_));
}

void RunJobReactor::OnDone() {
  std::shared_ptr<RunJobReactor> self;
  JobPtr job;
  absl::Status status;
  {
    std::lock_guard lock(mutex_);
    self =
        std::move(self_);  // gone at the end of this function, or with the last task that holds it
    job = std::move(job_);
    status = end_status_.value_or(absl::CancelledError());
    artifact_.reset();
  }
  if (job != nullptr) environment_->table->Detach(job, this);
  environment_->rpc_listener->OnRpcFinished(RpcMethod::kRunJob, status.code(),
                                            environment_->clock->Now() - created_);
  registry_->Remove(this);
}

}  // namespace modelpress
