// The resume ladder; see job_session.h.
#include "client/session/job_session.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/session/channel.h"

namespace modelpress {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kFirstBackoff{200};
constexpr milliseconds kLongestBackoff{5'000};
// A name that never answered is more likely wrong than busy.
constexpr milliseconds kFirstContactPatience{10'000};
// The instance may only be restarting its network: asked this often before its jobs count as lost.
constexpr int kInstanceAttempts = 3;
constexpr int kMaxSubmissions = 5;

// A random UUID (RFC 9562, version 4).
std::string NewRequestId() {
  absl::BitGen generator;
  uint64_t high = absl::Uniform<uint64_t>(generator);
  uint64_t low = absl::Uniform<uint64_t>(generator);
  high = (high & ~uint64_t{0xf000}) | 0x4000;
  low = (low & ~(uint64_t{3} << 62)) | (uint64_t{2} << 62);
  return absl::StrFormat("%08x-%04x-%04x-%04x-%012x", high >> 32, (high >> 16) & 0xffff,
                         high & 0xffff, low >> 48, low & 0xffffffffffff);
}

absl::Status Cancelled() { return Error(ERROR_REASON_JOB_CANCELLED, "the job was cancelled"); }

}  // namespace

JobSession::JobSession(Options options, SessionCallbacks callbacks)
    : options_(std::move(options)), callbacks_(std::move(callbacks)) {}

v1::JobService::StubInterface* JobSession::Stub() {
  const std::string address = route_ == Route::kInstance
                                  ? std::string(InstanceAddress(knowledge_.job_id))
                                  : options_.server;
  auto& stub = stubs_[absl::StrCat(route_ == Route::kInstance ? "instance " : "name ", address)];
  if (stub == nullptr) {
    stub = v1::JobService::NewStub(OpenChannel(
        address, route_ == Route::kInstance ? Routing::kOneInstance : Routing::kAnyReplica));
  }
  return stub.get();
}

void JobSession::Wait(milliseconds delay) const {
  const auto end = steady_clock::now() + delay;
  while (steady_clock::now() < end) {
    if (options_.cancellation != nullptr && options_.cancellation->cancelled()) return;
    std::this_thread::sleep_for(milliseconds(50));
  }
}

RunJobRequest JobSession::FirstMessage(const ArtifactReceiver& receiver) const {
  RunJobRequest request;
  if (knowledge_.job_id.empty()) {
    *request.mutable_start() = start_;
  } else {
    ResumeJob& resume = *request.mutable_resume();
    resume.set_job_id(knowledge_.job_id);
    resume.set_after_sequence(knowledge_.last_sequence);
    for (uint64_t offset : receiver.offsets()) resume.add_artifact_offsets(offset);
  }
  return request;
}

absl::StatusOr<JobResult> JobSession::Run(const JobSpec& spec, Upload* upload,
                                          const std::string& folder) {
  start_.set_request_id(NewRequestId());
  *start_.mutable_spec() = spec;
  start_.mutable_blobs()->Add(upload->blobs().begin(), upload->blobs().end());
  return Drive(upload, folder);
}

absl::StatusOr<JobResult> JobSession::Attach(const std::string& job_id, const std::string& folder) {
  knowledge_.job_id = job_id;
  // Only this instance has the job; the server's name is the second choice here.
  if (!InstanceAddress(job_id).empty()) route_ = Route::kInstance;
  return Drive(nullptr, folder);
}

absl::StatusOr<JobAccepted> JobSession::Validate(const JobSpec& spec, const Upload& upload) {
  RunJobRequest request;
  StartJob& start = *request.mutable_start();
  start.set_request_id(NewRequestId());
  start.set_validate_only(true);
  *start.mutable_spec() = spec;
  start.mutable_blobs()->Add(upload.blobs().begin(), upload.blobs().end());
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + options_.stall_timeout);
  auto stream = Stub()->RunJob(&context);
  RunJobResponse response;
  JobAccepted accepted;
  if (stream->Write(request)) {
    stream->WritesDone();
    while (stream->Read(&response)) {
      if (response.has_accepted()) accepted = response.accepted();
    }
  }
  MP_RETURN_IF_ERROR(FromRpc(stream->Finish()).status);
  return accepted;
}

void JobSession::Resubmit(Upload* upload, ArtifactReceiver* receiver) {
  ++submissions_;
  knowledge_ = JobKnowledge();
  receiver->Reset();
  route_ = Route::kServer;
  server_does_not_know_ = false;
  instance_failures_ = 0;
  if (upload != nullptr) callbacks_.upload(0, upload->total_bytes());
}

JobSession::Next JobSession::Decide(const RpcError& error, bool made_progress, Upload* upload,
                                    ArtifactReceiver* receiver) {
  const ErrorDetail detail = DetailOf(error.status);
  const std::string address(InstanceAddress(knowledge_.job_id));
  const bool can_submit = !start_.request_id().empty() && submissions_ < kMaxSubmissions;
  // Goes on at the other address of the ladder, if the job has one.
  auto other_route = [&] {
    if (!address.empty()) route_ = route_ == Route::kServer ? Route::kInstance : Route::kServer;
    return route_ == Route::kInstance ? Next::kRetryNow : Next::kRetryLater;
  };
  if (detail.reason() == ERROR_REASON_UNKNOWN_JOB && !knowledge_.job_id.empty()) {
    const auto instance = detail.metadata().find("instance");
    const bool by_owner = route_ == Route::kInstance || address.empty() ||
                          (instance != detail.metadata().end() && instance->second == address);
    if (!by_owner) {
      server_does_not_know_ = true;
      return other_route();
    }
    if (!can_submit) return Next::kGiveUp;
    callbacks_.note("the server has lost the job (restarted?); submitting it again");
    Resubmit(upload, receiver);
    return Next::kRetryNow;
  }
  if (detail.reason() == ERROR_REASON_STALE_SEQUENCE && knowledge_.last_sequence > 0) {
    knowledge_.last_sequence = 0;
    return Next::kRetryNow;
  }
  if (detail.reason() == ERROR_REASON_DIGEST_MISMATCH && can_submit && !uploaded_again_) {
    callbacks_.note("a file did not arrive as it was sent; sending it again");
    uploaded_again_ = true;
    if (upload != nullptr) upload->Rehash();
    // The refused job may still be there under this id.
    start_.set_request_id(NewRequestId());
    Resubmit(upload, receiver);
    return Next::kRetryNow;
  }
  const bool resumable = error.transport || error.status.ok() ||
                         detail.reason() == ERROR_REASON_CHUNK_CORRUPT ||
                         detail.reason() == ERROR_REASON_OFFSET_MISMATCH ||
                         detail.reason() == ERROR_REASON_PEER_STALLED;
  if (!resumable) return error.retry_after.has_value() ? Next::kRetryLater : Next::kGiveUp;
  if (route_ == Route::kInstance && error.transport && server_does_not_know_ &&
      ++instance_failures_ >= kInstanceAttempts && can_submit) {
    callbacks_.note("the job's server is gone; submitting the job again");
    Resubmit(upload, receiver);
    return Next::kRetryNow;
  }
  // What has just worked is tried first.
  if (made_progress) return Next::kRetryNow;
  return knowledge_.job_id.empty() ? Next::kRetryLater : other_route();
}

absl::StatusOr<JobResult> JobSession::Drive(Upload* upload, const std::string& folder) {
  ArtifactReceiver receiver(folder);
  absl::BitGen jitter;
  milliseconds backoff = kFirstBackoff;
  bool ever_reached = false;
  bool downloaded_again = false;
  auto quiet_since = steady_clock::now();
  while (true) {
    JobStream stream(Stub(), {options_.stall_timeout, options_.cancellation}, &callbacks_,
                     &knowledge_, upload, &receiver);
    bool made_progress = false;
    const RpcError error = stream.Run(FirstMessage(receiver), &made_progress);
    if (knowledge_.result.has_value() && receiver.complete()) {
      const absl::Status finished = receiver.Finish();
      if (finished.ok()) return *std::move(knowledge_.result);
      if (ReasonOf(finished) != ERROR_REASON_DIGEST_MISMATCH || downloaded_again) return finished;
      downloaded_again = true;
      MP_RETURN_IF_ERROR(receiver.Expect(knowledge_.result->files()));
      callbacks_.note("a file did not arrive as the server announced it; fetching it again");
      continue;
    }
    if (options_.cancellation != nullptr && options_.cancellation->cancelled()) return Cancelled();
    if (made_progress) {
      ever_reached = true;
      backoff = kFirstBackoff;
      quiet_since = steady_clock::now();
      server_does_not_know_ = false;
      instance_failures_ = 0;
    }
    const Next next = Decide(error, made_progress, upload, &receiver);
    const absl::Status status =
        error.status.ok() ? absl::Status(Error(ERROR_REASON_SERVER_UNREACHABLE,
                                               "the server ended the stream before the job's end"))
                          : error.status;
    if (next == Next::kGiveUp) return status;
    const auto patience =
        ever_reached || error.retry_after.has_value() || !knowledge_.job_id.empty()
            ? options_.retry_for
            : std::min(options_.retry_for, kFirstContactPatience);
    if (steady_clock::now() - quiet_since >= patience) return status;
    if (made_progress && error.transport) callbacks_.note("connection lost; resuming");
    if (next == Next::kRetryNow) continue;
    milliseconds delay = backoff * absl::Uniform(jitter, 80, 120) / 100;
    if (error.retry_after.has_value()) {
      delay = std::max(delay, *error.retry_after);
      callbacks_.note(absl::StrFormat("%s; trying again in %.1f s", error.status.message(),
                                      static_cast<double>(delay.count()) / 1000));
    }
    Wait(delay);
    if (options_.cancellation != nullptr && options_.cancellation->cancelled()) return Cancelled();
    backoff = std::min(backoff * 2, kLongestBackoff);
  }
}

}  // namespace modelpress
