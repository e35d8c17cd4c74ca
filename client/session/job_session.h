// A remote job from submission to its files on disk, whatever happens to connections and servers on the way.
//
// After a break the session goes down a ladder: the same name again; the very instance, at the address in the job's id;
// and, when the job is known nowhere (its server was restarted), a new submission under the same request id.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>

#include "client/session/job_stream.h"

namespace modelpress {

class JobSession {
 public:
  struct Options {
    std::string server;
    std::chrono::milliseconds stall_timeout{30'000};
    // How long to keep trying without any progress.
    std::chrono::milliseconds retry_for{60'000};
    Cancellation* cancellation = nullptr;
  };

  JobSession(Options options, SessionCallbacks callbacks);

  // Submits a job and waits for its end; its artifact files, if any, are then complete and synced in `folder`. A job
  // that failed is an OK result with a failed JobResult.status. Errors: why it could not be started
  // (RECIPE_INVALID, QUEUE_FULL after retries, ...), SERVER_UNREACHABLE, JOB_CANCELLED.
  absl::StatusOr<JobResult> Run(const JobSpec& spec, Upload* upload, const std::string& folder);
  // The same for a job that is running or finished. UNKNOWN_JOB if it is not there.
  absl::StatusOr<JobResult> Attach(const std::string& job_id, const std::string& folder);
  // Only asks whether the job would be accepted, and what it would need.
  absl::StatusOr<JobAccepted> Validate(const JobSpec& spec, const Upload& upload);

 private:
  enum class Route { kServer, kInstance };
  enum class Next { kRetryNow, kRetryLater, kGiveUp };

  absl::StatusOr<JobResult> Drive(Upload* upload, const std::string& folder);
  RunJobRequest FirstMessage(const ArtifactReceiver& receiver) const;
  v1::JobService::StubInterface* Stub();
  // Decides after a failed stream; may change route and knowledge.
  Next Decide(const RpcError& error, bool made_progress, Upload* upload,
              ArtifactReceiver* receiver);
  void Resubmit(Upload* upload, ArtifactReceiver* receiver);
  // Waits, cut short by cancellation.
  void Wait(std::chrono::milliseconds delay) const;

  Options options_;
  SessionCallbacks callbacks_;
  StartJob start_;  // empty request_id: attached, never submitted
  JobKnowledge knowledge_;
  Route route_ = Route::kServer;
  // Since the last progress: what the named server and the instance said.
  bool server_does_not_know_ = false;
  int instance_failures_ = 0;
  int submissions_ = 1;
  bool uploaded_again_ = false;
  std::map<std::string, std::unique_ptr<v1::JobService::StubInterface>> stubs_;
};

}  // namespace modelpress
