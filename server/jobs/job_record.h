// One job as the server holds it. The first part never changes once the record is shared; the rest is guarded by the job
// table's mutex.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "core/base/mapped_file.h"
#include "modelpress/v1/job.pb.h"
#include "server/transfer/upload_receiver.h"

namespace modelpress {

// The stream that is attached to a job. Called without any lock of the table held; must not block.
class StreamObserver {
 public:
  virtual ~StreamObserver() = default;
  // There are new events.
  virtual void OnJobChanged() = 0;
  // A newer stream has the job now.
  virtual void OnTakenOver() = 0;
};

struct JobRecord {
  uint64_t number = 0;  // order of acceptance, from 1
  std::string id;       // "<id>@<advertise address>"
  std::string request_id;
  std::string fingerprint;  // of spec and blobs: tells a retry from another job
  v1::JobSpec spec;
  std::vector<v1::Blob> blobs;
  std::string folder;
  uint64_t declared_bytes = 0;
  uint64_t planned_memory_bytes = 0;
  uint64_t planned_scratch_bytes = 0;
  absl::Time created;
  std::shared_ptr<UploadReceiver> upload;

  v1::Job::State state = v1::Job::STATE_QUEUED;
  std::string phase = "uploading";
  double phase_fraction = 0;
  double total_fraction = 0;
  std::string detail;
  uint32_t queue_position = 0;
  bool upload_finished = false;
  std::vector<std::string> sha256;
  uint64_t reserved_scratch_bytes = 0;
  absl::Time upload_end = absl::InfiniteFuture();
  absl::Time start = absl::InfiniteFuture();
  absl::Time end = absl::InfiniteFuture();
  // Infinite while a stream is attached.
  absl::Time lease_end = absl::InfiniteFuture();
  std::weak_ptr<StreamObserver> observer;
  std::deque<v1::JobEvent> events;
  uint64_t last_sequence = 0;
  absl::Time last_event;
  bool unreported_progress = false;
  // Why it is being ended before its time; OK if it is not.
  absl::Status end_reason;
  absl::Time end_requested = absl::InfiniteFuture();
  std::function<void()> cancel_worker;
  bool forgotten = false;
  v1::JobResult result;
  std::vector<std::shared_ptr<const MappedFile>> artifact;

  bool terminal() const {
    return state == v1::Job::STATE_SUCCEEDED || state == v1::Job::STATE_FAILED ||
           state == v1::Job::STATE_CANCELLED;
  }
};

using JobPtr = std::shared_ptr<JobRecord>;

}  // namespace modelpress
