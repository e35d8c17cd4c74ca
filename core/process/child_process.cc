// Starting, reading and ending a child: see child_process.h.
#include "core/process/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/process/frames.h"

extern char** environ;

namespace modelpress {
namespace {

using Clock = std::chrono::steady_clock;

// How long after its deadline a child that does not end by itself is killed.
constexpr auto kDeadlineGrace = std::chrono::milliseconds(500);
constexpr int kPollMilliseconds = 50;

struct Descriptor {
  int number = -1;
  Descriptor() = default;
  explicit Descriptor(int value) : number(value) {}
  Descriptor(Descriptor&& other) : number(std::exchange(other.number, -1)) {}
  ~Descriptor() {
    if (number >= 0) close(number);
  }
  int Release() { return std::exchange(number, -1); }
};

struct Pipe {
  Descriptor read_end, write_end;
  bool Open() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return false;
    read_end.number = ends[0];
    write_end.number = ends[1];
    return true;
  }
};

Error CannotStart(const std::string& program, int error) {
  return Error(ERROR_REASON_INTERNAL_BUG,
               FormatString("cannot start {} as a process: {}", program, strerror(error)));
}

}  // namespace

bool ChildEnd::killed() const { return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL; }

std::string ChildEnd::Cause() const {
  return WIFSIGNALED(status) ? FormatString("SIG{}", sigabbrev_np(WTERMSIG(status)))
                             : FormatString("exit code {}", WEXITSTATUS(status));
}

struct ChildProcess::State {
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
  // When the child must be gone, as known now.
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

ChildProcess::ChildProcess(std::unique_ptr<State> state) : state_(std::move(state)) {}

ChildProcess::~ChildProcess() {
  if (!state_->reaped) {
    state_->Kill();
    state_->Reap();
  }
  close(state_->events);
  if (state_->input >= 0) close(state_->input);
}

absl::StatusOr<std::unique_ptr<ChildProcess>> ChildProcess::Start(
    const std::string& program, const std::string& argument, std::span<const int> descriptors) {
  Pipe input, output;
  if (!input.Open() || !output.Open()) return CannotStart(program, errno);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, input.read_end.number, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output.write_end.number, STDOUT_FILENO);
  const int end = kFirstDescriptor + static_cast<int>(descriptors.size());
  // Copies above all their places in the child, so that none is overwritten before it is copied.
  std::vector<Descriptor> copies;
  for (size_t i = 0; i < descriptors.size(); ++i) {
    copies.emplace_back(fcntl(descriptors[i], F_DUPFD_CLOEXEC, end));
    if (copies.back().number < 0) {
      posix_spawn_file_actions_destroy(&actions);
      return CannotStart(program, errno);
    }
    posix_spawn_file_actions_adddup2(&actions, copies.back().number,
                                     kFirstDescriptor + static_cast<int>(i));
  }
  posix_spawn_file_actions_addclosefrom_np(&actions, end);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  posix_spawnattr_setpgroup(&attributes, 0);
  std::string name = program, flag = argument;
  char* arguments[] = {name.data(), flag.data(), nullptr};
  auto state = std::make_unique<State>();
  const int error =
      posix_spawn(&state->pid, program.c_str(), &actions, &attributes, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) return CannotStart(program, error);
  state->input = input.write_end.Release();
  state->events = output.read_end.Release();
  return std::unique_ptr<ChildProcess>(new ChildProcess(std::move(state)));
}

absl::Status ChildProcess::Send(const google::protobuf::MessageLite& message) {
  return WriteFrame(state_->input, message);
}

void ChildProcess::SetDeadline(Clock::time_point deadline) { state_->deadline = deadline; }

ChildEnd ChildProcess::Wait(google::protobuf::MessageLite* event,
                            const std::function<void()>& on_event,
                            const std::function<void()>& on_tick) {
  ChildEnd end;
  while (true) {
    const auto kill_time = state_->KillTime();
    if (kill_time.has_value() && Clock::now() >= *kill_time) {
      end.late = true;
      state_->Kill();
    }
    if (on_tick) on_tick();
    pollfd poller{.fd = state_->events, .events = POLLIN};
    if (poll(&poller, 1, kPollMilliseconds) <= 0) continue;
    const auto more = ReadFrame(state_->events, event);
    if (!more.ok()) end.protocol = more.status();
    if (!more.value_or(false)) break;
    on_event();
  }
  state_->Kill();  // it has closed its pipe and has nothing left to say
  end.status = state_->Reap();
  std::lock_guard lock(state_->mutex);
  end.cancelled = state_->cancelled;
  return end;
}

void ChildProcess::Cancel(double grace_seconds) {
  std::lock_guard lock(state_->mutex);
  if (state_->cancelled) return;
  state_->cancelled = true;
  state_->kill_at = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                       std::chrono::duration<double>(grace_seconds));
  if (state_->input >= 0) close(std::exchange(state_->input, -1));
}

int ChildProcess::pid() const { return state_->pid; }

std::string ProgramBeside(std::string_view name) {
  std::error_code ignored;
  return std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path() / name;
}

}  // namespace modelpress
