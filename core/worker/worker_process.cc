// The parent's side of a job in a process of its own: see worker.h.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <optional>
#include <utility>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/worker/frames.h"
#include "core/worker/worker.h"

extern char** environ;

namespace modelpress {
namespace {

using Clock = std::chrono::steady_clock;

// How long after its deadline a worker that does not end by itself (it is inside the runtime) is killed.
constexpr auto kDeadlineGrace = std::chrono::milliseconds(500);

struct Pipe {
  int read_end = -1;
  int write_end = -1;
  ~Pipe() {
    if (read_end >= 0) close(read_end);
    if (write_end >= 0) close(write_end);
  }
  bool Open() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return false;
    read_end = ends[0];
    write_end = ends[1];
    return true;
  }
};

Clock::duration Seconds(double seconds) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

Error CannotStart(int error) {
  return Error(ERROR_REASON_INTERNAL_BUG,
               FormatString("cannot start a worker process: {}", strerror(error)));
}

JobOutcome Failed(const absl::Status& status) {
  JobOutcome outcome;
  *outcome.mutable_error() = DetailOf(status);
  outcome.set_error_message(std::string(status.message()));
  outcome.set_error_code(static_cast<int>(status.code()));
  return outcome;
}

}  // namespace

struct WorkerProcess::State {
  pid_t pid = -1;
  int events = -1;  // read end
  std::optional<Clock::time_point> deadline;

  std::mutex mutex;
  int input = -1;       // write end; -1 once closed. Guarded by mutex.
  bool reaped = false;  // guarded by mutex: a reaped pid must not be signalled
  bool cancelled = false;
  std::optional<Clock::time_point> kill_at;

  void Kill() {
    std::lock_guard lock(mutex);
    if (!reaped) kill(-pid, SIGKILL);
  }
  // When the worker must be gone, as known now.
  std::optional<Clock::time_point> KillTime() {
    std::lock_guard lock(mutex);
    if (kill_at.has_value()) return kill_at;
    if (deadline.has_value()) return *deadline + kDeadlineGrace;
    return std::nullopt;
  }
  int Reap() {
    int status = 0;
    siginfo_t info;
    // Wait without reaping first: from waitpid on the number may belong to someone else.
    while (waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT) != 0 && errno == EINTR) {
    }
    std::lock_guard lock(mutex);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    reaped = true;
    return status;
  }
};

WorkerProcess::WorkerProcess(std::unique_ptr<State> state) : state_(std::move(state)) {}

WorkerProcess::~WorkerProcess() {
  if (!state_->reaped) {
    state_->Kill();
    state_->Reap();
  }
  close(state_->events);
  if (state_->input >= 0) close(state_->input);
}

absl::StatusOr<std::unique_ptr<WorkerProcess>> WorkerProcess::Start(const std::string& program,
                                                                    const WorkerRequest& request) {
  Pipe input, output;
  if (!input.Open() || !output.Open()) return CannotStart(errno);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, input.read_end, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output.write_end, STDOUT_FILENO);
  posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  posix_spawnattr_setpgroup(&attributes, 0);
  std::string name = program, flag = "--worker";
  char* arguments[] = {name.data(), flag.data(), nullptr};
  auto state = std::make_unique<State>();
  const int error =
      posix_spawn(&state->pid, program.c_str(), &actions, &attributes, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) return CannotStart(error);
  state->input = std::exchange(input.write_end, -1);
  state->events = std::exchange(output.read_end, -1);
  if (request.deadline_seconds() > 0) {
    state->deadline = Clock::now() + Seconds(request.deadline_seconds());
  }
  auto process = std::unique_ptr<WorkerProcess>(new WorkerProcess(std::move(state)));
  MP_RETURN_IF_ERROR(WriteFrame(process->state_->input, request));
  return process;
}

JobOutcome WorkerProcess::Wait(const std::function<void(const Progress&)>& progress) {
  std::optional<JobOutcome> outcome;
  std::string phase = "read";
  bool late = false;
  while (true) {
    const auto kill_time = state_->KillTime();
    if (kill_time.has_value() && Clock::now() >= *kill_time) {
      late = true;
      state_->Kill();
    }
    pollfd poller{.fd = state_->events, .events = POLLIN};
    if (poll(&poller, 1, /*milliseconds=*/50) <= 0) continue;
    WorkerEvent event;
    const auto more = ReadFrame(state_->events, &event);
    if (!more.ok()) outcome = Failed(more.status());
    if (!more.value_or(false)) break;
    if (event.has_progress()) {
      phase = event.progress().phase();
      progress(event.progress());
    } else if (event.has_outcome()) {
      outcome = std::move(*event.mutable_outcome());
    }
  }
  state_->Kill();  // it has closed its pipe and has nothing left to say
  const int status = state_->Reap();
  bool cancelled;
  {
    std::lock_guard lock(state_->mutex);
    cancelled = state_->cancelled;
  }
  if (outcome.has_value()) return *outcome;
  if (cancelled) return Failed(Error(ERROR_REASON_JOB_CANCELLED, "the job was cancelled"));
  if (late) {
    return Failed(Error(ERROR_REASON_JOB_DEADLINE, "the job ran longer than its deadline")
                      .With("phase", phase)
                      .Remedy("ask for a longer deadline_seconds"));
  }
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
    return Failed(Error(ERROR_REASON_WORKER_OUT_OF_MEMORY,
                        "the worker process was killed from outside, most likely by the kernel "
                        "for want of memory")
                      .With("phase", phase)
                      .Remedy("give the server more memory or run fewer jobs at once"));
  }
  const std::string cause = WIFSIGNALED(status)
                                ? FormatString("SIG{}", sigabbrev_np(WTERMSIG(status)))
                                : FormatString("exit code {}", WEXITSTATUS(status));
  return Failed(Error(ERROR_REASON_WORKER_CRASHED,
                      FormatString("the worker process died ({}) in phase {}", cause, phase))
                    .With("signal", cause)
                    .With("phase", phase)
                    .Remedy("report the model and recipe; other jobs are not affected"));
}

void WorkerProcess::Cancel(double grace_seconds) {
  std::lock_guard lock(state_->mutex);
  if (state_->cancelled) return;
  state_->cancelled = true;
  state_->kill_at = Clock::now() + Seconds(grace_seconds);
  if (state_->input >= 0) close(std::exchange(state_->input, -1));
}

int WorkerProcess::pid() const { return state_->pid; }

}  // namespace modelpress
