// Whether a StartJob keeps to the published limits, decided before anything is reserved. Pure and cheap.
#pragma once

#include "absl/status/status.h"
#include "modelpress/v1/capabilities.pb.h"
#include "modelpress/v1/service.pb.h"

namespace modelpress {

// REQUEST_INVALID with the field's path, BLOB_TOO_LARGE. Fills in what has a default (deadline, output name) and caps the
// deadline. The recipe's own rules are the core's (ValidateRecipe).
absl::Status CheckStart(const v1::Limits& limits, v1::StartJob* start);

}  // namespace modelpress
