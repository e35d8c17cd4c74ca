// The parent's side of a job in a process of its own: see worker.h.
#include <chrono>
#include <optional>
#include <utility>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/process/child_process.h"
#include "core/worker/worker.h"

namespace modelpress {
namespace {

using Clock = std::chrono::steady_clock;

Clock::duration Seconds(double seconds) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

JobOutcome Failed(const absl::Status& status) {
  JobOutcome outcome;
  *outcome.mutable_error() = DetailOf(status);
  outcome.set_error_message(std::string(status.message()));
  outcome.set_error_code(static_cast<int>(status.code()));
  return outcome;
}

}  // namespace

WorkerProcess::WorkerProcess(std::unique_ptr<ChildProcess> child) : child_(std::move(child)) {}

WorkerProcess::~WorkerProcess() = default;

absl::StatusOr<std::unique_ptr<WorkerProcess>> WorkerProcess::Start(const std::string& program,
                                                                    const WorkerRequest& request) {
  MP_ASSIGN_OR_RETURN(auto child, ChildProcess::Start(program, "--worker"));
  if (request.deadline_seconds() > 0) {
    child->SetDeadline(Clock::now() + Seconds(request.deadline_seconds()));
  }
  MP_RETURN_IF_ERROR(child->Send(request));
  return std::unique_ptr<WorkerProcess>(new WorkerProcess(std::move(child)));
}

JobOutcome WorkerProcess::Wait(const std::function<void(const Progress&)>& progress) {
  std::optional<JobOutcome> outcome;
  std::string phase = "read";
  WorkerEvent event;
  const ChildEnd end = child_->Wait(&event, [&] {
    if (event.has_progress()) {
      phase = event.progress().phase();
      progress(event.progress());
    } else if (event.has_outcome()) {
      outcome = std::move(*event.mutable_outcome());
    }
  });
  if (outcome.has_value()) return *outcome;
  if (!end.protocol.ok()) return Failed(end.protocol);
  if (end.cancelled) return Failed(Error(ERROR_REASON_JOB_CANCELLED, "the job was cancelled"));
  if (end.late) {
    return Failed(Error(ERROR_REASON_JOB_DEADLINE, "the job ran longer than its deadline")
                      .With("phase", phase)
                      .Remedy("ask for a longer deadline_seconds"));
  }
  if (end.killed()) {
    return Failed(Error(ERROR_REASON_WORKER_OUT_OF_MEMORY,
                        "the worker process was killed from outside, most likely by the kernel "
                        "for want of memory")
                      .With("phase", phase)
                      .Remedy("give the server more memory or run fewer jobs at once"));
  }
  const std::string cause = end.Cause();
  return Failed(Error(ERROR_REASON_WORKER_CRASHED,
                      FormatString("the worker process died ({}) in phase {}", cause, phase))
                    .With("signal", cause)
                    .With("phase", phase)
                    .Remedy("report the model and recipe; other jobs are not affected"));
}

void WorkerProcess::Cancel(double grace_seconds) { child_->Cancel(grace_seconds); }

int WorkerProcess::pid() const { return child_->pid(); }

}  // namespace modelpress
