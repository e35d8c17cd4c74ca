// One RunJob stream from its first message to its end: what is sent, what comes back, when it is given up.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>

#include "client/session/artifact_receiver.h"
#include "client/session/rpc_error.h"
#include "client/session/upload.h"
#include "core/base/cancellation.h"
#include "core/base/status.h"
#include "modelpress/v1/service.grpc.pb.h"

namespace modelpress {

// What a person is told while a job runs. Called from several threads, one call at a time.
struct SessionCallbacks {
  std::function<void(const JobEvent&)> event;
  std::function<void(uint64_t sent, uint64_t total)> upload;
  std::function<void(uint64_t received, uint64_t total)> download;
  // Something out of the ordinary, one line.
  std::function<void(std::string_view)> note;
};

// What the client knows of its job; outlives streams.
struct JobKnowledge {
  std::string job_id;  // empty: not accepted yet, or lost
  uint64_t last_sequence = 0;
  std::optional<JobResult> result;
};

// Runs one stream over `stub`. Blocks until it has ended.
class JobStream {
 public:
  struct Options {
    // Without a message from the server for this long, the stream is given up (events come at least every 5 s).
    std::chrono::milliseconds stall_timeout{30'000};
    Cancellation* cancellation = nullptr;  // may be null
  };

  // Nothing is owned. `upload` may be null where nothing is to be sent (attaching to an uploaded job).
  JobStream(v1::JobService::StubInterface* stub, const Options& options,
            const SessionCallbacks* callbacks, JobKnowledge* knowledge, Upload* upload,
            ArtifactReceiver* receiver);

  // The stream's end; OK means the server ended it in order. `*made_progress` says whether anything came.
  RpcError Run(const RunJobRequest& first, bool* made_progress);

 private:
  using Stream = grpc::ClientReaderWriterInterface<RunJobRequest, RunJobResponse>;

  // Sends all blobs from the committed offsets and the digests; runs on its own thread beside the reads.
  void Send(Stream* stream, const JobAccepted& accepted);
  absl::Status Handle(const RunJobResponse& response);
  absl::Status TakeResult(const JobResult& result);
  // Gives up stalled streams, and passes the user's cancellation on; runs on its own thread.
  void Watch(grpc::ClientContext* context, std::stop_token stop);
  void CancelRemotely();

  v1::JobService::StubInterface* stub_;
  Options options_;
  const SessionCallbacks* callbacks_;
  JobKnowledge* knowledge_;
  Upload* upload_;
  ArtifactReceiver* receiver_;

  std::atomic<int64_t> last_message_ms_ = 0;
  std::atomic<bool> stalled_ = false;
  std::mutex mutex_;  // guards the next two, and calls of callbacks
  std::string cancel_job_id_;
  absl::Status send_status_;
};

}  // namespace modelpress
