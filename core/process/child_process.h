// A program of ours started again, or a helper beside it, with frames (frames.h) on its standard input and output.
//
// Closing of the child's standard input by the parent, or by the kernel when the parent dies, tells it to stop. It runs
// in a process group of its own, so that whatever it starts ends with it.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "google/protobuf/message_lite.h"

namespace modelpress {

// How a child came to its end.
struct ChildEnd {
  // Cancel was called.
  bool cancelled = false;
  // It was killed because its deadline had passed.
  bool late = false;
  // As of waitpid(2).
  int status = 0;
  // Not OK: what came from it was no frame.
  absl::Status protocol;

  bool killed() const;
  // "SIGSEGV" or "exit code 3".
  std::string Cause() const;
};

// Not thread-safe but for Cancel.
class ChildProcess {
 public:
  // Number of the first of `descriptors` in the child.
  static constexpr int kFirstDescriptor = 3;

  // Starts `program` with `argument`. Of this process's open files the child sees standard error and `descriptors`, as
  // numbers kFirstDescriptor, +1, ... INTERNAL_BUG if it cannot be started.
  static absl::StatusOr<std::unique_ptr<ChildProcess>> Start(const std::string& program,
                                                             const std::string& argument,
                                                             std::span<const int> descriptors = {});
  // Kills the child if it still runs.
  ~ChildProcess();

  // Writes one frame to its standard input. INTERNAL_BUG if it is gone.
  absl::Status Send(const google::protobuf::MessageLite& message);
  // At this time plus half a second the child is killed.
  void SetDeadline(std::chrono::steady_clock::time_point deadline);
  // Blocks until the child ends, reading each of its frames into `event` and calling `on_event`; `on_tick` (may be null)
  // is called about 20 times a second meanwhile. At most one call.
  ChildEnd Wait(google::protobuf::MessageLite* event, const std::function<void()>& on_event,
                const std::function<void()>& on_tick = nullptr);
  // Asks for the end, and kills the process group after `grace_seconds`. Returns at once; thread-safe.
  void Cancel(double grace_seconds);
  int pid() const;

 private:
  struct State;
  explicit ChildProcess(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// The path of a program that lies beside the one that runs.
std::string ProgramBeside(std::string_view name);

}  // namespace modelpress
