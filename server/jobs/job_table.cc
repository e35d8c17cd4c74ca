// How jobs come, are found again and go: see job_table.h. The run of a job is in job_run.cc, views in job_views.cc.
#include "server/jobs/job_table.h"

#include <sys/random.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <span>
#include <system_error>
#include <utility>

#include "absl/log/check.h"
#include "absl/strings/escaping.h"
#include "core/base/format_string.h"
#include "core/base/sha256.h"
#include "core/base/status.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "server/jobs/outbox.h"

namespace modelpress {
namespace {

// 128 bits that nobody can guess: whoever knows a job's id may fetch its result.
std::string RandomId() {
  char bytes[16];
  CHECK_EQ(getrandom(bytes, sizeof(bytes), 0), static_cast<ssize_t>(sizeof(bytes)));
  return absl::BytesToHexString({bytes, sizeof(bytes)});
}

std::string Fingerprint(const JobSpec& spec, const std::vector<Blob>& blobs) {
  StartJob identity;
  *identity.mutable_spec() = spec;
  for (const Blob& blob : blobs) *identity.add_blobs() = blob;
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    identity.SerializeToCodedStream(&coded);
  }
  return Sha256Hex(std::as_bytes(std::span(bytes)));
}

// The blobs are checked: their sum does not overflow. Saturates for plans of absurd sizes.
uint64_t ScratchBytes(uint64_t declared, const Plan& plan) {
  const uint64_t left = std::numeric_limits<uint64_t>::max() - declared;
  return declared + std::min(plan.scratch_bytes(), left);
}

uint64_t DeclaredBytes(const std::vector<Blob>& blobs) {
  uint64_t total = 0;
  for (const Blob& blob : blobs) total += blob.size_bytes();
  return total;
}

absl::Status Draining() {
  return Error(ERROR_REASON_DRAINING, "this server is shutting down").Remedy("use another server");
}

}  // namespace

JobTable::JobTable(JobTableOptions options, const Clock* clock, Executor executor,
                   JobListener* listener)
    : options_(std::move(options)),
      clock_(clock),
      executor_(std::move(executor)),
      listener_(listener),
      admission_(options_.admission) {}

JobTable::~JobTable() = default;

void JobTable::SetAdvertise(const std::string& address) {
  std::lock_guard lock(mutex_);
  options_.advertise = address;
}

absl::Status JobTable::CheckRoom(const std::vector<Blob>& blobs, const Plan& plan) const {
  std::lock_guard lock(mutex_);
  if (draining_) return Draining();
  return Admission(admission_)
      .Accept(plan.memory_bytes(), ScratchBytes(DeclaredBytes(blobs), plan));
}

absl::StatusOr<JobTable::Started> JobTable::Start(const JobSpec& spec,
                                                  const std::vector<Blob>& blobs,
                                                  const std::string& request_id, const Plan& plan,
                                                  std::shared_ptr<StreamObserver> observer) {
  std::string fingerprint = Fingerprint(spec, blobs);
  Outbox outbox;
  std::lock_guard lock(mutex_);
  if (const auto found = by_request_.find(request_id); found != by_request_.end()) {
    const JobPtr& job = found->second;
    if (job->fingerprint != fingerprint) {
      return Error(ERROR_REASON_REQUEST_ID_REUSED,
                   "this request_id belongs to a job with another recipe or other files")
          .Remedy("make a new request_id for every new job");
    }
    Attach(job, std::move(observer), outbox);
    outbox.Add([this] { listener_->OnDuplicateRequest(); });
    return Started{job, /*existed=*/true};
  }
  const uint64_t declared = DeclaredBytes(blobs);
  const uint64_t scratch = ScratchBytes(declared, plan);
  absl::Status room = draining_ ? Draining() : absl::OkStatus();
  if (room.ok() && !MakeRoomForRecord(outbox)) {
    room = Error(ERROR_REASON_QUEUE_FULL, "this server holds as many jobs as it can")
               .Remedy("try again later or at another server");
  }
  if (room.ok()) room = admission_.Accept(plan.memory_bytes(), scratch);
  if (!room.ok()) {
    outbox.Add([this, reason = ReasonOf(room)] { listener_->OnJobRejected(reason); });
    return room;
  }

  auto job = std::make_shared<JobRecord>();
  job->number = ++last_number_;
  const std::string id = RandomId();
  job->id = id + "@" + options_.advertise;
  job->request_id = request_id;
  job->fingerprint = std::move(fingerprint);
  job->spec = spec;
  job->blobs = blobs;
  job->folder = options_.scratch_folder + "/" + id;
  job->declared_bytes = declared;
  job->planned_memory_bytes = plan.memory_bytes();
  job->planned_scratch_bytes = plan.scratch_bytes();
  job->reserved_scratch_bytes = scratch;
  job->created = clock_->Now();
  std::vector<uint64_t> sizes;
  for (const Blob& blob : blobs) sizes.push_back(blob.size_bytes());
  job->upload = UploadReceiver::Begin(job->folder + "/in", std::move(sizes), executor_);
  jobs_[job->number] = job;
  by_id_[job->id] = job;
  by_request_[job->request_id] = job;
  Attach(job, std::move(observer), outbox);
  AppendEvent(job, outbox);
  outbox.Add([this, job] { listener_->OnJobAccepted(job->id, job->declared_bytes); });
  return Started{job, /*existed=*/false};
}

absl::StatusOr<JobPtr> JobTable::Resume(const std::string& job_id, uint64_t after_sequence,
                                        std::shared_ptr<StreamObserver> observer) {
  Outbox outbox;
  std::lock_guard lock(mutex_);
  const JobPtr job = Find(job_id);
  if (job == nullptr) return UnknownJob(job_id);
  const uint64_t oldest = job->last_sequence - job->events.size() + 1;
  if (after_sequence > job->last_sequence || after_sequence + 1 < oldest) {
    return Error(ERROR_REASON_STALE_SEQUENCE,
                 FormatString("events {} to {} are held, so those after {} cannot be sent", oldest,
                              job->last_sequence, after_sequence))
        .With("oldest", std::to_string(oldest))
        .With("newest", std::to_string(job->last_sequence))
        .Remedy("resume after an event between oldest - 1 and newest");
  }
  Attach(job, std::move(observer), outbox);
  outbox.Add([this, id = job->id, unfinished = !job->upload_finished && !job->terminal()] {
    listener_->OnJobAttached(id, unfinished);
  });
  return job;
}

void JobTable::Attach(const JobPtr& job, std::shared_ptr<StreamObserver> observer, Outbox& outbox) {
  const auto older = job->observer.lock();
  if (older != nullptr && older != observer) outbox.Add([older] { older->OnTakenOver(); });
  job->observer = observer;
  job->lease_end = absl::InfiniteFuture();
}

void JobTable::Detach(const JobPtr& job, const StreamObserver* observer) {
  std::lock_guard lock(mutex_);
  const auto current = job->observer.lock();
  if (current != nullptr && current.get() != observer) return;
  job->observer.reset();
  job->lease_end = clock_->Now() + absl::Seconds(options_.limits.lease_seconds());
}

void JobTable::Forget(const JobPtr& job) {
  Outbox outbox;
  std::lock_guard lock(mutex_);
  ForgetLocked(job, outbox);
}

// A running job is ended first; its slot cleans up behind it.
void JobTable::ForgetLocked(const JobPtr& job, Outbox& outbox) {
  if (job->forgotten) return;
  job->forgotten = true;
  jobs_.erase(job->number);
  by_id_.erase(job->id);
  by_request_.erase(job->request_id);
  if (!job->terminal()) {
    End(job, Error(ERROR_REASON_JOB_CANCELLED, "nobody waits for the job any more"), outbox);
  }
  if (job->terminal()) outbox.Add([this, job] { RemoveFolder(job); });
}

// Only when the files are gone does their space count as free.
void JobTable::RemoveFolder(const JobPtr& job) {
  // Behind the upload's own work, which may still be writing there.
  job->upload->Attach([this, job](const auto&) {
    std::error_code ignored;
    std::filesystem::remove_all(job->folder, ignored);
    std::lock_guard lock(mutex_);
    job->artifact.clear();
    admission_.ReleaseScratch(std::exchange(job->reserved_scratch_bytes, 0));
  });
}

// Inputs and the worker's own files are not needed after the run, and freeing gigabytes takes a while: the result is on its
// way meanwhile. The artifact stays for its lease.
void JobTable::RemoveInputs(const JobPtr& job, uint64_t reserved_bytes) {
  job->upload->Attach([this, job, reserved_bytes](const auto&) {
    std::error_code ignored;
    std::filesystem::remove_all(job->folder + "/in", ignored);
    std::filesystem::remove_all(job->folder + "/work", ignored);
    std::lock_guard lock(mutex_);
    admission_.ReleaseScratch(reserved_bytes);
  });
}

// Finished jobs that nobody is attached to give way, oldest first.
bool JobTable::MakeRoomForRecord(Outbox& outbox) {
  if (jobs_.size() < kMaxHeldJobs) return true;
  for (const auto& [number, job] : jobs_) {
    if (!job->terminal() || job->observer.lock() != nullptr) continue;
    ForgetLocked(JobPtr(job), outbox);
    return true;
  }
  return false;
}

JobPtr JobTable::Find(const std::string& job_id) const {
  const auto found = by_id_.find(job_id);
  return found == by_id_.end() ? nullptr : found->second;
}

absl::Status JobTable::UnknownJob(const std::string& job_id) const {
  return Error(ERROR_REASON_UNKNOWN_JOB,
               "this server has no such job: it expired, was released, or the server restarted")
      .With("job_id", job_id.substr(0, 128))
      .With("instance", options_.advertise)
      .Remedy("submit it again with the same request_id");
}

}  // namespace modelpress
