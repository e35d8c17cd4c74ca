// What is seen of jobs from outside, and what time does to them: see job_table.h.
#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/numbers.h"
#include "core/base/format_string.h"
#include "core/base/status.h"
#include "server/jobs/job_table.h"
#include "server/jobs/outbox.h"

namespace modelpress {
namespace {

constexpr uint32_t kDefaultPageSize = 100;
constexpr uint32_t kMaxPageSize = 1000;
// A job's own worker watches its deadline; this much later the server ends it.
constexpr absl::Duration kDeadlineGrace = absl::Seconds(2);

void SetTimestamp(absl::Time time, google::protobuf::Timestamp* timestamp) {
  const int64_t seconds = absl::ToUnixSeconds(time);
  timestamp->set_seconds(seconds);
  timestamp->set_nanos(
      static_cast<int>(absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(seconds))));
}

}  // namespace

void JobTable::AppendEvent(const JobPtr& job, Outbox& outbox) {
  JobEvent event;
  event.set_sequence(++job->last_sequence);
  event.set_state(job->state);
  event.set_phase(job->phase);
  event.set_phase_fraction(job->phase_fraction);
  event.set_total_fraction(job->total_fraction);
  event.set_detail(job->detail);
  event.set_queue_position(job->queue_position);
  if (job->terminal()) *event.mutable_result() = job->result;
  job->events.push_back(std::move(event));
  if (job->events.size() > kMaxHeldEvents) job->events.pop_front();
  job->last_event = clock_->Now();
  job->unreported_progress = false;
  outbox.NotifyObserver(*job);
}

void JobTable::UpdateQueuePositions(Outbox& outbox) {
  for (size_t i = 0; i < queue_.size(); ++i) {
    if (queue_[i]->queue_position == i + 1) continue;
    queue_[i]->queue_position = static_cast<uint32_t>(i + 1);
    AppendEvent(queue_[i], outbox);
  }
}

std::vector<JobEvent> JobTable::EventsAfter(const JobPtr& job, uint64_t sequence,
                                            size_t max_count) const {
  std::lock_guard lock(mutex_);
  std::vector<JobEvent> events;
  const uint64_t oldest = job->last_sequence - job->events.size() + 1;
  size_t index = sequence < oldest ? 0 : sequence - oldest + 1;
  for (; index < job->events.size() && events.size() < max_count; ++index) {
    events.push_back(job->events[index]);
  }
  return events;
}

bool JobTable::upload_finished(const JobPtr& job) const {
  std::lock_guard lock(mutex_);
  return job->upload_finished || job->terminal();
}

bool JobTable::Terminal(const JobPtr& job) const {
  std::lock_guard lock(mutex_);
  return job->terminal();
}

std::vector<std::shared_ptr<const MappedFile>> JobTable::Artifact(const JobPtr& job) const {
  std::lock_guard lock(mutex_);
  return job->artifact;
}

Job JobTable::Snapshot(const JobPtr& job) const {
  std::lock_guard lock(mutex_);
  return SnapshotLocked(*job);
}

Job JobTable::SnapshotLocked(const JobRecord& record) const {
  Job job;
  job.set_job_id(record.id);
  job.set_request_id(record.request_id);
  job.set_state(record.state);
  job.set_phase(record.phase);
  job.set_fraction(record.total_fraction);
  job.set_queue_position(record.queue_position);
  SetTimestamp(record.created, job.mutable_create_time());
  if (record.start != absl::InfiniteFuture()) SetTimestamp(record.start, job.mutable_start_time());
  if (record.end != absl::InfiniteFuture()) SetTimestamp(record.end, job.mutable_end_time());
  // While a stream is attached the lease would last its whole length from now.
  const absl::Time lease =
      std::min(record.lease_end, clock_->Now() + absl::Seconds(options_.limits.lease_seconds()));
  SetTimestamp(lease, job.mutable_lease_expire_time());
  job.set_last_sequence(record.last_sequence);
  if (record.terminal()) *job.mutable_result() = record.result;
  return job;
}

absl::StatusOr<Job> JobTable::Get(const std::string& job_id) const {
  std::lock_guard lock(mutex_);
  const JobPtr job = Find(job_id);
  if (job == nullptr) return UnknownJob(job_id);
  return SnapshotLocked(*job);
}

// The token is the number of the last job of the page before: jobs that come or go meanwhile shift nothing.
absl::StatusOr<ListJobsResponse> JobTable::List(uint32_t page_size,
                                                const std::string& page_token) const {
  if (page_size > kMaxPageSize) {
    return Error(ERROR_REASON_REQUEST_INVALID,
                 FormatString("page_size {} is over {}", page_size, kMaxPageSize))
        .With("field", "page_size");
  }
  if (page_size == 0) page_size = kDefaultPageSize;
  uint64_t before = std::numeric_limits<uint64_t>::max();
  if (!page_token.empty() && !absl::SimpleAtoi(page_token, &before)) {
    return Error(ERROR_REASON_REQUEST_INVALID, "page_token is none that this server gave")
        .With("field", "page_token");
  }
  ListJobsResponse response;
  std::lock_guard lock(mutex_);
  auto next = jobs_.lower_bound(before);
  // Results carry whole reports: a page stays below the size of a message, and GetJob tells the rest.
  while (next != jobs_.begin() && response.jobs_size() < static_cast<int>(page_size)) {
    --next;
    Job job = SnapshotLocked(*next->second);
    if (job.has_result()) job.mutable_result()->clear_report();
    *response.add_jobs() = std::move(job);
  }
  if (next != jobs_.begin()) response.set_next_page_token(std::to_string(next->first));
  return response;
}

void JobTable::Tick() {
  Outbox outbox;
  std::lock_guard lock(mutex_);
  const absl::Time now = clock_->Now();
  const std::map<uint64_t, JobPtr> jobs = jobs_;  // forgetting changes the map
  for (const auto& [number, job] : jobs) {
    if (now >= job->lease_end) {
      outbox.Add([this, id = job->id] { listener_->OnLeaseExpired(id); });
      ForgetLocked(job, outbox);
      continue;
    }
    if (job->terminal()) continue;
    const absl::Duration deadline = absl::Seconds(job->spec.deadline_seconds());
    if (job->state == Job::STATE_RUNNING && now - job->start > deadline + kDeadlineGrace) {
      End(job,
          Error(ERROR_REASON_JOB_DEADLINE,
                FormatString("the job was still running after its {} seconds",
                             job->spec.deadline_seconds()))
              .Remedy("give it a longer deadline_seconds"),
          outbox);
    }
    if (job->terminal()) continue;
    const bool heard = job->observer.lock() != nullptr;
    if ((job->unreported_progress && now - job->last_event >= kProgressInterval) ||
        (heard && now - job->last_event >= kHeartbeat)) {
      AppendEvent(job, outbox);
    }
  }
}

bool JobTable::Idle() const {
  std::lock_guard lock(mutex_);
  for (const auto& [number, job] : jobs_) {
    if (!job->terminal() || job->observer.lock() != nullptr) return false;
  }
  return true;
}

JobTableStats JobTable::Stats() const {
  std::lock_guard lock(mutex_);
  JobTableStats stats;
  const absl::Time now = clock_->Now();
  for (const auto& [number, job] : jobs_) {
    if (job->observer.lock() == nullptr) ++stats.detached;
    if (job->terminal()) {
      ++stats.finished;
    } else if (job->state == Job::STATE_RUNNING) {
      ++stats.running;
    } else if (job->upload_finished) {
      ++stats.queued;
      stats.oldest_queued = std::max(stats.oldest_queued, now - job->upload_end);
    } else {
      ++stats.uploading;
    }
  }
  stats.memory_in_use = admission_.memory_in_use();
  stats.scratch_in_use = admission_.scratch_in_use();
  return stats;
}

}  // namespace modelpress
