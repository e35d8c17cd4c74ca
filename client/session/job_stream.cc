// One RunJob stream; see job_stream.h. Three threads: the caller's reads (always one read is outstanding, as the
// protocol asks), one sends, one watches the clock. gRPC's synchronous streams allow one reader and one writer at once.
#include "client/session/job_stream.h"

#include <algorithm>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "grpcpp/client_context.h"

namespace modelpress {
namespace {

// Measured on loopback: smaller chunks cost throughput, larger ones bring nothing.
constexpr size_t kChunkBytes = 256 * 1024;
constexpr std::chrono::milliseconds kWatchInterval{50};
constexpr std::chrono::seconds kCancelCallTimeout{3};
// A cancelled job ends within a second; a server that does not say so is not waited for.
constexpr int64_t kCancelPatienceMs = 5'000;

int64_t NowMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

JobStream::JobStream(v1::JobService::StubInterface* stub, const Options& options,
                     const SessionCallbacks* callbacks, JobKnowledge* knowledge, Upload* upload,
                     ArtifactReceiver* receiver)
    : stub_(stub),
      options_(options),
      callbacks_(callbacks),
      knowledge_(knowledge),
      upload_(upload),
      receiver_(receiver) {}

void JobStream::Send(Stream* stream, const JobAccepted& accepted) {
  if (upload_ == nullptr || accepted.upload_finished()) return;
  const auto& blobs = upload_->blobs();
  const uint64_t total = upload_->total_bytes();
  uint64_t sent = 0;
  auto fail = [&](absl::Status status) {
    std::lock_guard lock(mutex_);
    send_status_ = std::move(status);
  };
  RunJobRequest request;
  for (size_t i = 0; i < blobs.size(); ++i) {
    const uint64_t committed =
        i < static_cast<size_t>(accepted.committed_bytes_size()) ? accepted.committed_bytes(i) : 0;
    const uint64_t size = blobs[i].size_bytes();
    sent += std::min(committed, size);
    for (uint64_t offset = std::min(committed, size); offset < size;) {
      Chunk* chunk = request.mutable_chunk();
      absl::Status status = upload_->Read(i, offset, kChunkBytes, chunk);
      if (!status.ok()) return fail(std::move(status));
      if (!stream->Write(request)) return;
      offset += chunk->data().size();
      sent += chunk->data().size();
      std::lock_guard lock(mutex_);
      callbacks_->upload(sent, total);
    }
  }
  absl::StatusOr<std::vector<std::string>> digests = upload_->Digests();
  if (!digests.ok()) return fail(digests.status());
  request.mutable_finish_upload()->mutable_sha256()->Add(digests->begin(), digests->end());
  stream->Write(request);
}

absl::Status JobStream::TakeResult(const JobResult& result) {
  if (!knowledge_->result.has_value()) knowledge_->result = result;
  return receiver_->Expect(result.files());
}

absl::Status JobStream::Handle(const RunJobResponse& response) {
  switch (response.message_case()) {
    case RunJobResponse::kEvent: {
      const JobEvent& event = response.event();
      if (event.sequence() <= knowledge_->last_sequence) return absl::OkStatus();
      knowledge_->last_sequence = event.sequence();
      {
        std::lock_guard lock(mutex_);
        callbacks_->event(event);
      }
      return event.has_result() ? TakeResult(event.result()) : absl::OkStatus();
    }
    case RunJobResponse::kArtifactChunk: {
      MP_RETURN_IF_ERROR(receiver_->Add(response.artifact_chunk()));
      std::lock_guard lock(mutex_);
      callbacks_->download(receiver_->received_bytes(), receiver_->expected_bytes());
      return absl::OkStatus();
    }
    default:
      return absl::OkStatus();  // upload progress: what counts is `accepted` of the next stream
  }
}

void JobStream::CancelRemotely() {
  std::string job_id;
  {
    std::lock_guard lock(mutex_);
    job_id = cancel_job_id_;
  }
  if (job_id.empty()) return;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kCancelCallTimeout);
  CancelJobRequest request;
  request.set_job_id(job_id);
  Job job;
  stub_->CancelJob(&context, request, &job);  // if it fails, the job's lease ends it
}

void JobStream::Watch(grpc::ClientContext* context, std::stop_token stop) {
  int64_t give_up_ms = 0;
  while (!stop.stop_requested()) {
    const int64_t now = NowMs();
    const bool cancelled = options_.cancellation != nullptr && options_.cancellation->cancelled();
    if (cancelled && give_up_ms == 0) {
      give_up_ms = now + kCancelPatienceMs;
      CancelRemotely();
      std::lock_guard lock(mutex_);
      if (cancel_job_id_.empty()) context->TryCancel();
    }
    if (now - last_message_ms_ > options_.stall_timeout.count()) {
      stalled_ = true;
      context->TryCancel();
      return;
    }
    if (give_up_ms != 0 && now > give_up_ms) {
      context->TryCancel();
      return;
    }
    std::this_thread::sleep_for(kWatchInterval);
  }
}

RpcError JobStream::Run(const RunJobRequest& first, bool* made_progress) {
  grpc::ClientContext context;
  last_message_ms_ = NowMs();
  {
    std::lock_guard lock(mutex_);
    cancel_job_id_ = knowledge_->job_id;
  }
  std::jthread watcher([&](std::stop_token stop) { Watch(&context, stop); });
  auto stream = stub_->RunJob(&context);
  std::thread sender;
  absl::Status local;  // what this side found wrong
  if (stream->Write(first)) {
    RunJobResponse response;
    while (local.ok() && stream->Read(&response)) {
      last_message_ms_ = NowMs();
      if (response.has_accepted() && !sender.joinable()) {
        const JobAccepted accepted = std::move(*response.mutable_accepted());
        *made_progress = *made_progress || knowledge_->job_id.empty();
        if (knowledge_->job_id != accepted.job().job_id()) knowledge_->last_sequence = 0;
        knowledge_->job_id = accepted.job().job_id();
        {
          std::lock_guard lock(mutex_);
          cancel_job_id_ = knowledge_->job_id;
        }
        if (accepted.job().has_result()) local = TakeResult(accepted.job().result());
        sender = std::thread([this, raw = stream.get(), accepted] { Send(raw, accepted); });
        continue;
      }
      *made_progress = true;
      local = Handle(response);
      if (local.ok() && knowledge_->result.has_value() && receiver_->complete()) {
        // Everything is here: the server may forget the job at once.
        if (sender.joinable()) sender.join();
        RunJobRequest release;
        release.mutable_release();
        stream->Write(release);
        stream->WritesDone();
        while (stream->Read(&response)) {
        }
        break;
      }
      std::lock_guard lock(mutex_);
      if (!send_status_.ok()) local = send_status_;
    }
  }
  if (!local.ok()) context.TryCancel();
  if (sender.joinable()) sender.join();
  const grpc::Status end = stream->Finish();
  watcher.request_stop();
  watcher.join();
  if (local.ok()) local = send_status_;
  if (!local.ok()) {
    RpcError error{.status = local};
    error.transport = ReasonOf(local) == ERROR_REASON_CHUNK_CORRUPT ||
                      ReasonOf(local) == ERROR_REASON_OFFSET_MISMATCH;
    return error;
  }
  if (stalled_) {
    return {.status = Error(ERROR_REASON_PEER_STALLED,
                            absl::StrCat("nothing came from the server for ",
                                         options_.stall_timeout.count() / 1000, " s")),
            .transport = true};
  }
  return FromRpc(end);
}

}  // namespace modelpress
