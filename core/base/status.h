// Errors: absl::Status with a typed reason and facts for programs, made where the fact is known.
//
//   return Error(ERROR_REASON_MODEL_MALFORMED, "raw_data has 12 bytes but dims [4] of float32 need 16")
//       .Tensor("fc.weight").Remedy("export the model again");
//
// The status code follows from the reason (see proto/modelpress/v1/error.proto, the list of all reasons). The server
// turns the payload into google.rpc.ErrorInfo; nothing below it knows gRPC. All functions here are thread-safe.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "modelpress/v1/error.pb.h"

namespace modelpress {

// The messages of the API (recipe, report, errors) are used so widely that they are part of the project's namespace.
using namespace v1;  // NOLINT: the generated namespace is modelpress::v1

// Builds a status; converts to absl::Status and absl::StatusOr<T>.
class Error {
 public:
  Error(ErrorReason reason, std::string_view message);

  Error& Node(std::string_view name) { return With("node", name); }
  Error& Tensor(std::string_view name) { return With("tensor", name); }
  Error& Op(std::string_view type) { return With("op", type); }
  // What to do next, one sentence; also appended to the message.
  Error& Remedy(std::string_view text) { return With("remedy", text); }
  Error& With(std::string_view key, std::string_view value);

  absl::Status ToStatus() const;
  operator absl::Status() const {
    return ToStatus();
  }  // NOLINT: implicit by design, as in `return Error(...)`
  template <typename T>
  operator absl::StatusOr<T>() const {  // NOLINT
    return ToStatus();
  }

 private:
  std::string message_;
  ErrorDetail detail_;
};

// The status code that belongs to a reason.
absl::StatusCode CodeOf(ErrorReason reason);
// "MODEL_MALFORMED": the enum's name without its prefix.
std::string_view ReasonName(ErrorReason reason);
// The detail of a status. A failed status without one counts as ERROR_REASON_INTERNAL_BUG; an ok one as UNSPECIFIED.
ErrorDetail DetailOf(const absl::Status& status);
ErrorReason ReasonOf(const absl::Status& status);
// The inverse of (DetailOf, message): rebuilds a status that crossed a process boundary.
absl::Status StatusFromDetail(const ErrorDetail& detail, std::string_view message);
// The same status with one more fact (kept if the key is already there).
absl::Status Annotate(const absl::Status& status, std::string_view key, std::string_view value);

}  // namespace modelpress

#define MP_CONCAT_INNER(a, b) a##b
#define MP_CONCAT(a, b) MP_CONCAT_INNER(a, b)

// Returns from the enclosing function if `expression` (absl::Status) failed.
#define MP_RETURN_IF_ERROR(expression)                                            \
  do {                                                                            \
    if (absl::Status mp_status = (expression); !mp_status.ok()) return mp_status; \
  } while (false)

// `lhs = value of expression` (absl::StatusOr), or returns its status.
#define MP_ASSIGN_OR_RETURN(lhs, expression) \
  MP_ASSIGN_OR_RETURN_INNER(MP_CONCAT(mp_status_or_, __LINE__), lhs, expression)
#define MP_ASSIGN_OR_RETURN_INNER(variable, lhs, expression) \
  auto variable = (expression);                              \
  if (!variable.ok()) return std::move(variable).status();   \
  lhs = *std::move(variable)
