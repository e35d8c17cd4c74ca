// Threads that run jobs: see worker_slots.h.
#include "server/jobs/worker_slots.h"

#include <filesystem>
#include <memory>
#include <system_error>

#include "core/base/status.h"

namespace modelpress {
namespace {

JobOutcome FailedOutcome(const absl::Status& status) {
  JobOutcome outcome;
  *outcome.mutable_error() = DetailOf(status);
  outcome.set_error_message(std::string(status.message()));
  outcome.set_error_code(static_cast<int>(status.code()));
  return outcome;
}

JobOutcome RunJob(JobTable& table, JobRunner& runner, const JobPtr& job) {
  const WorkerRequest request = table.RequestFor(job);
  std::error_code error;
  for (const std::string* folder : {&request.output_folder(), &request.scratch_folder()}) {
    std::filesystem::create_directories(*folder, error);
    if (error) {
      return FailedOutcome(Error(ERROR_REASON_DISK_FULL,
                                 "the server cannot make a folder for the job: " + error.message())
                               .With("errno", std::to_string(error.value())));
    }
  }
  absl::StatusOr<std::unique_ptr<RunningJob>> started = runner.Start(request);
  if (!started.ok()) return FailedOutcome(started.status());
  const std::shared_ptr<RunningJob> running = *std::move(started);
  table.RunStarted(job, [running] { running->Cancel(); });
  return running->Wait([&](const Progress& progress) { table.RunProgress(job, progress); });
}

}  // namespace

WorkerSlots::WorkerSlots(size_t count, JobTable* table, JobRunner* runner)
    : table_(table), runner_(runner) {
  for (size_t i = 0; i < count; ++i) threads_.emplace_back([this] { Work(); });
}

WorkerSlots::~WorkerSlots() {
  for (std::thread& thread : threads_) thread.join();
}

void WorkerSlots::Work() {
  while (const JobPtr job = table_->TakeJob()) {
    table_->RunFinished(job, RunJob(*table_, *runner_, job));
  }
}

}  // namespace modelpress
