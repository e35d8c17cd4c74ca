// Settings of the C library's heap for programs that move many chunks.
#pragma once

namespace modelpress {

// Keeps freed chunks in the heap instead of giving each back to the kernel, which costs about 200,000 page faults per GB
// of 256 KiB chunks (a tenth of the processor time of a transfer). Call it before the first transfer.
void KeepChunksInHeap();

}  // namespace modelpress
