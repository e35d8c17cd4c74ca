// The edge between absl::Status and gRPC's.
#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace modelpress {

// With google.rpc.Status (ErrorInfo, RetryInfo) as the details that gRPC sends as grpc-status-details-bin.
grpc::Status ToGrpcStatus(const absl::Status& status);

}  // namespace modelpress
