// google.rpc.Status with ErrorInfo and RetryInfo into typed statuses; see rpc_error.h.
#include "client/session/rpc_error.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/base/status.h"
#include "google/rpc/error_details.pb.h"

namespace modelpress {
namespace {

constexpr char kDomain[] = "modelpress";
constexpr int64_t kLongestRetryDelayMs = 10 * 60 * 1000;

bool FindErrorInfo(const google::rpc::Status& status, ErrorDetail* detail) {
  for (const auto& any : status.details()) {
    google::rpc::ErrorInfo info;
    if (!any.UnpackTo(&info) || info.domain() != kDomain) continue;
    ErrorReason reason;
    // A newer server may know reasons that this client does not.
    if (!ErrorReason_Parse(absl::StrCat("ERROR_REASON_", info.reason()), &reason)) {
      reason = ERROR_REASON_INTERNAL_BUG;
      (*detail->mutable_metadata())["server_reason"] = info.reason();
    }
    detail->set_reason(reason);
    for (const auto& [key, value] : info.metadata()) (*detail->mutable_metadata())[key] = value;
    return true;
  }
  return false;
}

std::optional<std::chrono::milliseconds> FindRetryDelay(const google::rpc::Status& status) {
  for (const auto& any : status.details()) {
    google::rpc::RetryInfo info;
    if (!any.UnpackTo(&info)) continue;
    const int64_t seconds =
        std::clamp<int64_t>(info.retry_delay().seconds(), 0, kLongestRetryDelayMs / 1000);
    const int64_t ms = seconds * 1000 + std::max(0, info.retry_delay().nanos()) / 1'000'000;
    return std::chrono::milliseconds(std::min(ms, kLongestRetryDelayMs));
  }
  return std::nullopt;
}

bool IsTransport(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::CANCELLED:          // by our own stall timer, or by a dying server
    case grpc::StatusCode::DEADLINE_EXCEEDED:  // no answer in time
    case grpc::StatusCode::INTERNAL:           // RST_STREAM and protocol errors of a cut connection
    case grpc::StatusCode::UNKNOWN:
      return true;
    default:
      return false;
  }
}

}  // namespace

absl::Status FromJobStatus(const google::rpc::Status& status) {
  if (status.code() == 0) return absl::OkStatus();
  ErrorDetail detail;
  if (!FindErrorInfo(status, &detail)) detail.set_reason(ERROR_REASON_INTERNAL_BUG);
  return StatusFromDetail(detail, status.message());
}

RpcError FromRpc(const grpc::Status& status) {
  RpcError error;
  if (status.ok()) return error;
  google::rpc::Status rich;
  rich.ParseFromString(status.error_details());
  error.retry_after = FindRetryDelay(rich);
  ErrorDetail detail;
  if (FindErrorInfo(rich, &detail)) {
    error.status = StatusFromDetail(detail, status.error_message());
    return error;
  }
  error.transport = IsTransport(status.error_code());
  if (error.transport) {
    error.status = Error(ERROR_REASON_SERVER_UNREACHABLE,
                         absl::StrCat("no connection to the server: ", status.error_message()))
                       .Remedy("check the address given by --server or MODELPRESS_SERVER");
  } else if (status.error_code() == grpc::StatusCode::UNIMPLEMENTED) {
    error.status = Error(ERROR_REASON_SERVER_UNREACHABLE, "what answers there is not modelpressd")
                       .Remedy("check the address given by --server or MODELPRESS_SERVER");
  } else {
    error.status =
        Error(ERROR_REASON_INTERNAL_BUG,
              absl::StrCat("the server answered code ", static_cast<int>(status.error_code()),
                           " without a reason: ", status.error_message()));
  }
  return error;
}

}  // namespace modelpress
