// Watching threads of a child: see child_watch.h.
#include "core/process/child_watch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <thread>
#include <utility>

namespace modelpress {
namespace {

// Anonymous memory of this process, bytes (statm: size resident shared ... in pages).
uint64_t AnonymousBytes() {
  FILE* const file = fopen("/proc/self/statm", "re");
  if (file == nullptr) return 0;
  uint64_t size = 0, resident = 0, shared = 0;
  const int fields = fscanf(file, "%lu %lu %lu", &size, &resident, &shared);
  fclose(file);
  if (fields != 3 || resident < shared) return 0;
  return (resident - shared) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace

int TakeOutput(int output) {
  signal(SIGPIPE, SIG_IGN);
  const int frames = fcntl(output, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  dup2(STDERR_FILENO, output);
  return frames;
}

void WatchMemory(uint64_t limit_bytes, std::function<void()> report) {
  std::thread([limit_bytes, report = std::move(report)] {
    while (AnonymousBytes() <= limit_bytes) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    report();
    _exit(kExitOutOfMemory);
  }).detach();
}

void WatchParent(int input, Cancellation* cancellation) {
  std::thread([=] {
    char byte;
    while (true) {
      const ssize_t got = read(input, &byte, 1);
      if (got == 0 || (got < 0 && errno != EINTR)) break;
    }
    cancellation->Cancel();
    std::this_thread::sleep_for(std::chrono::seconds(1));
    _exit(kExitAbandoned);
  }).detach();
}

}  // namespace modelpress
