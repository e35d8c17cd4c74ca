// Typed errors: see status.h.
#include "core/base/status.h"

#include <utility>

#include "absl/strings/cord.h"
#include "core/base/utf8.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"

namespace modelpress {
namespace {

constexpr char kPayloadUrl[] = "modelpress.v1.ErrorDetail";
constexpr std::string_view kPrefix = "ERROR_REASON_";

}  // namespace

absl::StatusCode CodeOf(ErrorReason reason) {
  switch (reason) {
    case ERROR_REASON_PROTOCOL_VIOLATION:
    case ERROR_REASON_QUALITY_BOUND_MISSED:
    case ERROR_REASON_ARTIFACT_REJECTED:
    case ERROR_REASON_UPLOAD_INCOMPLETE:
    case ERROR_REASON_FILE_ACCESS:
    case ERROR_REASON_TRAINER_MISSING:
    case ERROR_REASON_TRAINING_DIVERGED:
      return absl::StatusCode::kFailedPrecondition;
    case ERROR_REASON_CHUNK_CORRUPT:
      return absl::StatusCode::kAborted;
    case ERROR_REASON_OFFSET_MISMATCH:
    case ERROR_REASON_STALE_SEQUENCE:
      return absl::StatusCode::kOutOfRange;
    case ERROR_REASON_PEER_STALLED:
    case ERROR_REASON_JOB_DEADLINE:
      return absl::StatusCode::kDeadlineExceeded;
    case ERROR_REASON_QUEUE_FULL:
    case ERROR_REASON_SCRATCH_FULL:
    case ERROR_REASON_MEMORY_BUDGET:
    case ERROR_REASON_WORKER_OUT_OF_MEMORY:
    case ERROR_REASON_DISK_FULL:
      return absl::StatusCode::kResourceExhausted;
    case ERROR_REASON_DRAINING:
    case ERROR_REASON_SERVER_UNREACHABLE:
      return absl::StatusCode::kUnavailable;
    case ERROR_REASON_UNKNOWN_JOB:
      return absl::StatusCode::kNotFound;
    case ERROR_REASON_REQUEST_ID_REUSED:
    case ERROR_REASON_OUTPUT_EXISTS:
      return absl::StatusCode::kAlreadyExists;
    case ERROR_REASON_JOB_CANCELLED:
      return absl::StatusCode::kCancelled;
    case ERROR_REASON_UNSPECIFIED:
    case ERROR_REASON_WORKER_CRASHED:
    case ERROR_REASON_RUNTIME_FAILED:
    case ERROR_REASON_INTERNAL_BUG:
      return absl::StatusCode::kInternal;
    default:
      return absl::StatusCode::kInvalidArgument;
  }
}

std::string_view ReasonName(ErrorReason reason) {
  std::string_view name = ErrorReason_Name(reason);
  if (name.starts_with(kPrefix)) name.remove_prefix(kPrefix.size());
  return name;
}

Error::Error(ErrorReason reason, std::string_view message) : message_(ToUtf8(message)) {
  detail_.set_reason(reason);
}

Error& Error::With(std::string_view key, std::string_view value) {
  (*detail_.mutable_metadata())[std::string(key)] = ToUtf8(value);
  return *this;
}

absl::Status Error::ToStatus() const {
  std::string message = message_;
  const auto remedy = detail_.metadata().find("remedy");
  if (remedy != detail_.metadata().end()) message += "; " + remedy->second;
  return StatusFromDetail(detail_, message);
}

absl::Status StatusFromDetail(const ErrorDetail& detail, std::string_view message) {
  absl::Status status(CodeOf(detail.reason()), std::string(message));
  std::string payload;
  {
    google::protobuf::io::StringOutputStream stream(&payload);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);  // equal errors are equal statuses
    detail.SerializeToCodedStream(&coded);
  }
  status.SetPayload(kPayloadUrl, absl::Cord(payload));
  return status;
}

ErrorDetail DetailOf(const absl::Status& status) {
  ErrorDetail detail;
  if (status.ok()) return detail;
  const auto payload = status.GetPayload(kPayloadUrl);
  if (!payload.has_value() || !detail.ParseFromString(std::string(*payload))) {
    detail.set_reason(ERROR_REASON_INTERNAL_BUG);
  }
  return detail;
}

ErrorReason ReasonOf(const absl::Status& status) { return DetailOf(status).reason(); }

absl::Status Annotate(const absl::Status& status, std::string_view key, std::string_view value) {
  if (status.ok()) return status;
  ErrorDetail detail = DetailOf(status);
  detail.mutable_metadata()->insert({std::string(key), ToUtf8(value)});
  return StatusFromDetail(detail, std::string(status.message()));
}

}  // namespace modelpress
