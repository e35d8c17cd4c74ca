// The worker's side of a job in a process of its own: see worker.h.
#include <chrono>
#include <memory>
#include <mutex>
#include <new>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/process/child_watch.h"
#include "core/process/frames.h"
#include "core/recipe/run.h"
#include "core/worker/worker.h"

namespace modelpress {
namespace {

constexpr int kExitOk = 0;

JobOutcome Failed(const absl::Status& status) {
  JobOutcome outcome;
  *outcome.mutable_error() = DetailOf(status);
  outcome.set_error_message(std::string(status.message()));
  outcome.set_error_code(static_cast<int>(status.code()));
  return outcome;
}

absl::Status OutOfMemory(uint64_t limit_bytes, const std::string& phase) {
  return Error(ERROR_REASON_WORKER_OUT_OF_MEMORY,
               FormatString("the job needed more than its {} MiB of memory", limit_bytes >> 20))
      .With("limit", std::to_string(limit_bytes))
      .With("phase", phase)
      .Remedy("raise the memory budget, or judge smaller batches");
}

// The worker's end of the pipe. Thread-safe; after the outcome nothing more is written.
class EventWriter {
 public:
  explicit EventWriter(int descriptor) : descriptor_(descriptor) {}

  void Send(const Progress& progress) {
    std::lock_guard lock(mutex_);
    if (ended_) return;
    phase_ = progress.phase();
    WorkerEvent event;
    *event.mutable_progress() = progress;
    (void)WriteFrame(descriptor_, event);  // a dead parent is noticed by the end of standard input
  }

  void Finish(JobOutcome outcome) {
    std::lock_guard lock(mutex_);
    if (ended_) return;
    ended_ = true;
    WorkerEvent event;
    *event.mutable_outcome() = std::move(outcome);
    (void)WriteFrame(descriptor_, event);
  }

  std::string phase() {
    std::lock_guard lock(mutex_);
    return phase_;
  }

 private:
  std::mutex mutex_;
  int descriptor_;
  std::string phase_ = "read";
  bool ended_ = false;
};

absl::StatusOr<InputFile> Open(const WorkerRequest::File& file) {
  MP_ASSIGN_OR_RETURN(auto mapped, MappedFile::OpenForReading(file.path()));
  return InputFile{file.name(), std::move(mapped)};
}

absl::StatusOr<JobInputs> OpenInputs(const WorkerRequest& request) {
  JobInputs inputs;
  MP_ASSIGN_OR_RETURN(inputs.model.main, Open(request.model()));
  inputs.known_sha256[request.model().name()] = request.model().sha256();
  for (const WorkerRequest::File& sidecar : request.sidecars()) {
    MP_ASSIGN_OR_RETURN(InputFile file, Open(sidecar));
    inputs.model.sidecars.push_back(std::move(file));
    inputs.known_sha256[sidecar.name()] = sidecar.sha256();
  }
  if (request.has_student()) {
    MP_ASSIGN_OR_RETURN(inputs.student, Open(request.student()));
    inputs.known_sha256[request.student().name()] = request.student().sha256();
  }
  if (request.has_graph()) {
    MP_ASSIGN_OR_RETURN(inputs.graph, Open(request.graph()));
    inputs.known_sha256[request.graph().name()] = request.graph().sha256();
  }
  std::erase_if(inputs.known_sha256, [](const auto& entry) { return entry.second.empty(); });
  inputs.data_path = request.data_path();
  inputs.output_folder = request.output_folder();
  inputs.output_name = request.output_name();
  return inputs;
}

JobOutcome RunRequest(const WorkerRequest& request, Cancellation* cancellation,
                      EventWriter* events) {
  const auto inputs = OpenInputs(request);
  if (!inputs.ok()) return Failed(inputs.status());
  auto scratch =
      Scratch::Open(request.scratch_folder(), request.scratch_quota_bytes(), /*wipe=*/false);
  if (!scratch.ok()) return Failed(scratch.status());
  ThreadPool pool(request.threads());
  const JobContext context{
      .pool = &pool,
      .scratch = scratch->get(),
      .cancellation = cancellation,
      .progress = [events](const Progress& progress) { events->Send(progress); },
      .memory_budget_bytes = request.memory_limit_bytes(),
  };
  try {
    return RunRecipe(*inputs, request.recipe(), context);
  } catch (const std::bad_alloc&) {
    return Failed(OutOfMemory(request.memory_limit_bytes(), events->phase()));
  }
}

}  // namespace

int WorkerMain(int input, int output) {
  const int frames = TakeOutput(output);
  WorkerRequest request;
  if (frames < 0 || !ReadFrame(input, &request).value_or(false)) return kExitNoRequest;
  // Both outlive the watching threads, which end with the process.
  auto* const events = new EventWriter(frames);
  auto* const cancellation = new Cancellation();
  if (request.deadline_seconds() > 0) cancellation->EndIn(request.deadline_seconds());
  WatchParent(input, cancellation);
  if (const uint64_t limit = request.memory_limit_bytes(); limit > 0) {
    WatchMemory(limit, [=] { events->Finish(Failed(OutOfMemory(limit, events->phase()))); });
  }
  events->Finish(RunRequest(request, cancellation, events));
  return kExitOk;
}

}  // namespace modelpress
