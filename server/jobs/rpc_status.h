// Errors as the API says them: google.rpc.Status with ErrorInfo, and RetryInfo where trying again can help.
#pragma once

#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "google/rpc/status.pb.h"

namespace modelpress {

// How long a client should wait before it tries the same again; none where that is useless.
std::optional<absl::Duration> RetryDelay(const absl::Status& status);

google::rpc::Status ToRpcStatus(const absl::Status& status);

}  // namespace modelpress
