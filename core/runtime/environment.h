// The runtime's process-wide environment, made once and quietly.
#pragma once

namespace Ort {
struct Env;
}

namespace modelpress {

// Thread-safe. The first call takes some milliseconds.
Ort::Env& RuntimeEnvironment();

}  // namespace modelpress
