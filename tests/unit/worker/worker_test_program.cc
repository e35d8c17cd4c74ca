// A worker that misbehaves as an environment variable says. Without one, the real worker.
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <thread>

#include "core/process/frames.h"
#include "core/worker/worker.h"
#include "tests/unit/worker/worker_test_program.h"

namespace modelpress {
namespace {

// Progress that never ends, deaf to the closing of standard input.
[[noreturn]] void Hang() {
  while (true) {
    WorkerEvent event;
    event.mutable_progress()->set_phase("hanging");
    (void)WriteFrame(STDOUT_FILENO, event);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

int Main() {
  const char* const how = std::getenv(kMisbehaviourVariable);
  switch (static_cast<Misbehaviour>(std::atoi(how == nullptr ? "0" : how))) {
    case Misbehaviour::kNone:
      break;
    case Misbehaviour::kSegmentationFault:
      std::signal(SIGSEGV, SIG_DFL);
      raise(SIGSEGV);
      break;
    case Misbehaviour::kBusError:
      std::signal(SIGBUS, SIG_DFL);
      raise(SIGBUS);
      break;
    case Misbehaviour::kAbort:
      std::signal(SIGABRT, SIG_DFL);
      std::abort();
    case Misbehaviour::kKilled:
      raise(SIGKILL);
      break;
    case Misbehaviour::kExitSilently:
      return 7;
    case Misbehaviour::kHang:
      Hang();
    case Misbehaviour::kGarbage:
      (void)!write(STDOUT_FILENO, "\xff\xff\xff\xffgarbage", 11);
      return 0;
  }
  return WorkerMain(STDIN_FILENO, STDOUT_FILENO);
}

}  // namespace
}  // namespace modelpress

int main() { return modelpress::Main(); }
