// What this build can do, told once for the service (GetCapabilities) and the CLI (modelpress capabilities).
#pragma once

#include "modelpress/v1/capabilities.pb.h"

namespace modelpress {

// Version, runtime version, formats and passes, all from the registries; `limits` and `instance` stay empty: they are a
// server's. Never fails. Thread-safe.
v1::Capabilities DescribeCapabilities();

}  // namespace modelpress
