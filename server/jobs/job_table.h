// All jobs of this server: their places, queue, states, events, leases and ends.
//
//   Start -> (bytes arrive) -> UploadFinished -> queue -> TakeJob -> RunStarted -> RunProgress* -> RunFinished
//            Cancel, an expired lease or a deadline may end it at any point; Release or the lease forgets it.
//
// Thread-safe; no call blocks but TakeJob, and RunFinished, which removes files. Knows neither gRPC nor processes. Observers
// and the listener are always called after the table's lock is released.
#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "modelpress/v1/capabilities.pb.h"
#include "modelpress/v1/service.pb.h"
#include "modelpress/v1/worker.pb.h"
#include "server/jobs/admission.h"
#include "server/jobs/clock.h"
#include "server/jobs/job_listener.h"
#include "server/jobs/job_record.h"
#include "server/transfer/task_pool.h"

namespace modelpress {

struct JobTableOptions {
  AdmissionLimits admission;
  v1::Limits limits;      // lease and deadlines
  std::string advertise;  // HOST:PORT in job ids
  std::string scratch_folder;
  uint32_t threads_per_worker = 1;
};

struct JobTableStats {
  uint32_t uploading = 0;
  uint32_t queued = 0;
  uint32_t running = 0;
  uint32_t finished = 0;  // held for their lease
  uint32_t detached = 0;  // of all of them
  absl::Duration oldest_queued;
  uint64_t memory_in_use = 0;
  uint64_t scratch_in_use = 0;
};

class JobTable {
 public:
  // Events that are kept of one job; older ones are STALE_SEQUENCE.
  static constexpr size_t kMaxHeldEvents = 4096;
  // Jobs that are kept, finished ones included.
  static constexpr size_t kMaxHeldJobs = 1000;
  static constexpr absl::Duration kHeartbeat = absl::Seconds(4);
  static constexpr absl::Duration kProgressInterval = absl::Milliseconds(200);

  // The pointers outlive the table.
  JobTable(JobTableOptions options, const Clock* clock, Executor executor, JobListener* listener);
  ~JobTable();

  // Once, before the first call, where the address is known only after binding.
  void SetAdvertise(const std::string& address);

  // --- For streams.

  struct Started {
    JobPtr job;
    bool existed = false;  // a retry: the request_id was alive with the same spec and blobs
  };
  // Accepts a job that was checked (CheckStart) and planned. `observer` is attached. DRAINING, QUEUE_FULL, SCRATCH_FULL,
  // MEMORY_BUDGET, REQUEST_ID_REUSED.
  absl::StatusOr<Started> Start(const v1::JobSpec& spec, const std::vector<v1::Blob>& blobs,
                                const std::string& request_id, const v1::Plan& plan,
                                std::shared_ptr<StreamObserver> observer);
  // What Start would say, without doing it.
  absl::Status CheckRoom(const std::vector<v1::Blob>& blobs, const v1::Plan& plan) const;
  // UNKNOWN_JOB; STALE_SEQUENCE.
  absl::StatusOr<JobPtr> Resume(const std::string& job_id, uint64_t after_sequence,
                                std::shared_ptr<StreamObserver> observer);
  // The stream is gone: the lease begins, if no newer stream has the job.
  void Detach(const JobPtr& job, const StreamObserver* observer);
  // Every byte is there and right: the job waits for a worker.
  void UploadFinished(const JobPtr& job, std::vector<std::string> sha256);
  // The client has everything, or the upload could not even begin: forgotten at once. A job that is not over is ended.
  void Forget(const JobPtr& job);

  // At most `max_count` events after `sequence`, in order. Those no longer held are left out.
  std::vector<v1::JobEvent> EventsAfter(const JobPtr& job, uint64_t sequence,
                                        size_t max_count) const;
  v1::Job Snapshot(const JobPtr& job) const;
  // True for a job that is over, too.
  bool upload_finished(const JobPtr& job) const;
  bool Terminal(const JobPtr& job) const;
  std::vector<std::shared_ptr<const MappedFile>> Artifact(const JobPtr& job) const;

  // --- For unary calls.

  absl::StatusOr<v1::Job> Get(const std::string& job_id) const;
  // Newest first. REQUEST_INVALID for a page size or token that is none.
  absl::StatusOr<v1::ListJobsResponse> List(uint32_t page_size,
                                            const std::string& page_token) const;
  absl::StatusOr<v1::Job> Cancel(const std::string& job_id);

  // --- For worker slots.

  // Blocks until a job may run, and makes it RUNNING; null after Stop.
  JobPtr TakeJob();
  v1::WorkerRequest RequestFor(const JobPtr& job) const;
  // The worker is there; `cancel` ends it (thread-safe, does not block). Called at once if the job was ended meanwhile.
  void RunStarted(const JobPtr& job, std::function<void()> cancel);
  void RunProgress(const JobPtr& job, const v1::Progress& progress);
  // The worker is gone.
  void RunFinished(const JobPtr& job, v1::JobOutcome outcome);

  // --- For the housekeeper and shutdown.

  // Leases, deadlines, heartbeats, held-back progress; a few times a second.
  void Tick();
  // New jobs are refused from now on; known ones go on.
  void SetDraining();
  // Ends every job that is not over with DRAINING.
  void EndAll();
  // No job is under way and no stream attached.
  bool Idle() const;
  // TakeJob returns null from now on.
  void Stop();
  JobTableStats Stats() const;

 private:
  class Outbox;

  absl::Status UnknownJob(const std::string& job_id) const;
  JobPtr Find(const std::string& job_id) const;
  void Attach(const JobPtr& job, std::shared_ptr<StreamObserver> observer, Outbox& outbox);
  void AppendEvent(const JobPtr& job, Outbox& outbox);
  void UpdateQueuePositions(Outbox& outbox);
  void End(const JobPtr& job, const absl::Status& reason, Outbox& outbox);
  void SetTerminal(const JobPtr& job, const absl::Status& status, Outbox& outbox);
  void ForgetLocked(const JobPtr& job, Outbox& outbox);
  void RemoveFolder(const JobPtr& job);
  void RemoveInputs(const JobPtr& job, uint64_t reserved_bytes);
  bool MakeRoomForRecord(Outbox& outbox);
  v1::Job SnapshotLocked(const JobRecord& job) const;

  JobTableOptions options_;
  const Clock* const clock_;
  const Executor executor_;
  JobListener* const listener_;

  mutable std::mutex mutex_;
  std::condition_variable work_;
  Admission admission_;
  uint64_t last_number_ = 0;
  std::map<uint64_t, JobPtr> jobs_;  // by number
  absl::flat_hash_map<std::string, JobPtr> by_id_;
  absl::flat_hash_map<std::string, JobPtr> by_request_;
  std::deque<JobPtr> queue_;
  bool draining_ = false;
  bool stopping_ = false;
};

}  // namespace modelpress
