// What a child of ours (child_process.h) watches while it works: its memory and whether it is still wanted.
#pragma once

#include <cstdint>
#include <functional>

#include "core/base/cancellation.h"

namespace modelpress {

// Exit codes of our children.
inline constexpr int kExitNoRequest = 2;
inline constexpr int kExitAbandoned = 3;
inline constexpr int kExitOutOfMemory = 4;

// Standard output becomes standard error, so that whatever a library prints does not get between the frames; returns the
// descriptor to write frames to, -1 if there is none. Broken pipes are no signals any more.
int TakeOutput(int output);

// Starts a thread that calls `report` and ends the process when it holds more anonymous memory than `limit_bytes`. A
// limit on address space would not do: weights are mapped, and mappings cost none.
void WatchMemory(uint64_t limit_bytes, std::function<void()> report);

// Starts a thread that cancels when the other end of `input` is closed: the parent does so to cancel, and the kernel when
// the parent dies. A child that does not heed the flag within a second is ended (a living parent kills it sooner).
// `cancellation` must outlive the process.
void WatchParent(int input, Cancellation* cancellation);

}  // namespace modelpress
