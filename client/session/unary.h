// The calls that are one question and one answer. UNKNOWN_JOB, SERVER_UNREACHABLE; a call takes at most 20 s, tries
// included.
#pragma once

#include <string>
#include <vector>

#include "core/base/status.h"
#include "modelpress/v1/service.pb.h"

namespace modelpress {

absl::StatusOr<Capabilities> GetCapabilities(const std::string& server);
// Every job of the instance that answers, newest first, all pages.
absl::StatusOr<std::vector<Job>> ListJobs(const std::string& server);
// These dial the address in the job's id, and `server` only if there is none.
absl::StatusOr<Job> GetJob(const std::string& server, const std::string& job_id);
absl::StatusOr<Job> CancelJob(const std::string& server, const std::string& job_id);

}  // namespace modelpress
