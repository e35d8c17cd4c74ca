// absl::Status to google.rpc.Status: see rpc_status.h.
#include "server/jobs/rpc_status.h"

#include <string>

#include "core/base/status.h"
#include "google/rpc/error_details.pb.h"

namespace modelpress {

std::optional<absl::Duration> RetryDelay(const absl::Status& status) {
  const ErrorDetail detail = DetailOf(status);
  if (detail.metadata().contains("never")) return std::nullopt;
  switch (detail.reason()) {
    case ERROR_REASON_DRAINING:
      return absl::Milliseconds(200);  // another replica is ready now
    case ERROR_REASON_QUEUE_FULL:
      return absl::Seconds(2);
    case ERROR_REASON_SCRATCH_FULL:
    case ERROR_REASON_MEMORY_BUDGET:
    case ERROR_REASON_DISK_FULL:
      return absl::Seconds(5);
    default:
      return std::nullopt;
  }
}

google::rpc::Status ToRpcStatus(const absl::Status& status) {
  google::rpc::Status result;
  result.set_code(static_cast<int>(status.code()));
  result.set_message(std::string(status.message()));
  if (status.ok()) return result;
  const ErrorDetail detail = DetailOf(status);
  // A status without a typed reason that is not a bug: "a newer stream took the job over".
  if (detail.reason() == ERROR_REASON_INTERNAL_BUG &&
      status.code() != absl::StatusCode::kInternal) {
    return result;
  }
  google::rpc::ErrorInfo info;
  info.set_domain("modelpress");
  info.set_reason(std::string(ReasonName(detail.reason())));
  *info.mutable_metadata() = detail.metadata();
  result.add_details()->PackFrom(info);
  if (const auto delay = RetryDelay(status); delay.has_value()) {
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_seconds(absl::ToInt64Seconds(*delay));
    retry.mutable_retry_delay()->set_nanos(
        static_cast<int>(absl::ToInt64Nanoseconds(*delay % absl::Seconds(1))));
    result.add_details()->PackFrom(retry);
  }
  return result;
}

}  // namespace modelpress
