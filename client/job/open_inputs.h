// The files of a job on this machine's disk.
#pragma once

#include "absl/status/statusor.h"
#include "client/job/job.h"
#include "core/recipe/run.h"

namespace modelpress {

// Opens the models with what they name beside them. Local and remote jobs get the same names from here, which the artifact
// records: a further model is "student/NAME" or "graph/NAME", and so are its sidecars. FILE_ACCESS.
absl::StatusOr<JobInputs> OpenInputs(const JobRequest& request);

}  // namespace modelpress
