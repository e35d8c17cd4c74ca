// Errors that come from a server: from google.rpc messages to the typed statuses of core/base.
#pragma once

#include <chrono>
#include <optional>

#include "absl/status/status.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/support/status.h"

namespace modelpress {

// Why a call failed, and what the server says about trying again.
struct RpcError {
  // With reason, message and metadata as the server made them. Errors of gRPC itself (no answer,
  // broken connection) are SERVER_UNREACHABLE; anything without a reason otherwise is INTERNAL_BUG.
  absl::Status status;
  // From google.rpc.RetryInfo: try again, but not before this delay.
  std::optional<std::chrono::milliseconds> retry_after;
  // The connection is to blame, not the request: going on over a new one is right.
  bool transport = false;
};

RpcError FromRpc(const grpc::Status& status);
// The end of a job as JobResult.status carries it; OK for code 0.
absl::Status FromJobStatus(const google::rpc::Status& status);

}  // namespace modelpress
