// SessionOptions as the runtime's own options.
#pragma once

namespace Ort {
struct SessionOptions;
}

namespace modelpress {

struct SessionOptions;

// Threads bounded, nobody spins (a spinning pool on a shared machine takes the time of the others), weights read in
// place through /proc/self/fd unless `prepack`. Throws what the runtime throws.
Ort::SessionOptions MakeRuntimeOptions(const SessionOptions& options);

}  // namespace modelpress
