// Anonymous memory of this process: see memory_usage.h.
#include "core/base/memory_usage.h"

#include <fcntl.h>
#include <malloc.h>
#include <unistd.h>

#include <charconv>
#include <string_view>

namespace modelpress {

// No allocation and no stream: this is also asked when memory has run out.
uint64_t AnonymousMemoryBytes() {
  const int descriptor = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return 0;
  char buffer[4096];
  size_t size = 0;
  for (ssize_t got = 1; got > 0 && size < sizeof(buffer); size += got > 0 ? got : 0) {
    got = read(descriptor, buffer + size, sizeof(buffer) - size);
  }
  close(descriptor);
  const std::string_view text(buffer, size);
  constexpr std::string_view kKey = "RssAnon:";
  size_t at = text.find(kKey);
  if (at == std::string_view::npos) return 0;
  at = text.find_first_not_of(" \t", at + kKey.size());
  if (at == std::string_view::npos) return 0;
  uint64_t kibibytes = 0;
  std::from_chars(text.data() + at, text.data() + text.size(), kibibytes);
  return kibibytes * 1024;
}

void ReturnFreeMemory() { malloc_trim(0); }

void PeakMemory::Sample() {
  const uint64_t now = AnonymousMemoryBytes();
  uint64_t peak = peak_.load(std::memory_order_relaxed);
  while (now > peak && !peak_.compare_exchange_weak(peak, now, std::memory_order_relaxed)) {
  }
}

}  // namespace modelpress
