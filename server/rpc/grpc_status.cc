// absl::Status to grpc::Status: see grpc_status.h.
#include "server/rpc/grpc_status.h"

#include <string>

#include "server/jobs/rpc_status.h"

namespace modelpress {

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const google::rpc::Status rich = ToRpcStatus(status);
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), rich.message(),
                      rich.SerializeAsString());
}

}  // namespace modelpress
