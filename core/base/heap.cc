// Settings of the C library's heap: see heap.h.
#include "core/base/heap.h"

#include <malloc.h>

namespace modelpress {

void KeepChunksInHeap() {
  constexpr int kThresholdBytes = 32 << 20;
  mallopt(M_MMAP_THRESHOLD, kThresholdBytes);
  mallopt(M_TRIM_THRESHOLD, kThresholdBytes);
  mallopt(M_ARENA_MAX, 2);  // each arena keeps its own
}

}  // namespace modelpress
