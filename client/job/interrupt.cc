// Signals; see interrupt.h.
#include "client/job/interrupt.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <mutex>
#include <set>
#include <thread>

#include "client/terminal/exit_code.h"

namespace modelpress {
namespace {

constexpr std::chrono::milliseconds kPoll{100};
// Polling loops of the core answer within a second.
constexpr std::chrono::seconds kPatience{3};

// Never destroyed: the handler and the watching thread may outlive main.
Cancellation& Flag() {
  static Cancellation* flag = new Cancellation();
  return *flag;
}

struct Folders {
  std::mutex mutex;
  std::multiset<std::string> paths;
};
Folders& GuardedFolders() {
  static Folders* folders = new Folders();
  return *folders;
}

std::atomic<int> signals = 0;

void OnSignal(int) {
  // Only async-signal-safe calls: an atomic store, write, _exit.
  if (signals.fetch_add(1) > 0) _exit(kExitCancelled);
  Flag().Cancel();
  constexpr char kText[] = "\ncancelling; once more ends at once\n";
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, kText, sizeof(kText) - 1);
}

[[noreturn]] void EndNow() {
  {
    std::lock_guard lock(GuardedFolders().mutex);
    for (const std::string& path : GuardedFolders().paths) {
      std::error_code ignored;
      std::filesystem::remove_all(path, ignored);
    }
  }
  _exit(kExitCancelled);
}

void WatchForever() {
  while (!Flag().cancelled()) std::this_thread::sleep_for(kPoll);
  std::this_thread::sleep_for(kPatience);
  while (true) {
    bool guarded;
    {
      std::lock_guard lock(GuardedFolders().mutex);
      guarded = !GuardedFolders().paths.empty();
    }
    if (guarded) EndNow();
    std::this_thread::sleep_for(kPoll);
  }
}

}  // namespace

Cancellation& InstallInterruptHandler() {
  static const bool installed = [] {
    Flag();
    GuardedFolders();
    struct sigaction action{};
    action.sa_handler = OnSignal;
    sigemptyset(&action.sa_mask);
    action.sa_flags = SA_RESTART;
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
    std::thread(WatchForever).detach();
    return true;
  }();
  (void)installed;
  return Flag();
}

InterruptGuard::InterruptGuard(std::string folder) : folder_(std::move(folder)) {
  std::lock_guard lock(GuardedFolders().mutex);
  GuardedFolders().paths.insert(folder_);
}

InterruptGuard::~InterruptGuard() {
  std::lock_guard lock(GuardedFolders().mutex);
  GuardedFolders().paths.erase(GuardedFolders().paths.find(folder_));
}

}  // namespace modelpress
