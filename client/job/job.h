// One job of the command line, run by this process or by a server: the same request in, the same outcome out.
#pragma once

#include <chrono>
#include <string>

#include "client/terminal/progress_display.h"
#include "core/base/cancellation.h"
#include "core/base/status.h"
#include "modelpress/v1/recipe.pb.h"
#include "modelpress/v1/report.pb.h"

namespace modelpress {

struct JobRequest {
  std::string model_path;
  // Folder or ZIP of samples; empty: none.
  std::string data_path;
  Recipe recipe;
  // Further models, as Blob.Role describes them; empty: none.
  std::string student_path;
  std::string graph_path;
  // Of running; 0: none, or the server's.
  double deadline_seconds = 0;
};

// How a server is reached.
struct ServerSettings {
  std::string address;
  std::chrono::milliseconds retry_for{60'000};
};

// What a running job may use; nothing is owned.
struct JobSurroundings {
  ProgressDisplay* display = nullptr;
  Cancellation* cancellation = nullptr;
  // Local jobs: threads, 0 for all.
  size_t threads = 0;
};

// Artifact files are written into `folder`, the main one as `name`. Failures of every kind are the outcome's error.
JobOutcome RunLocally(const JobRequest& request, const std::string& folder, const std::string& name,
                      const JobSurroundings& surroundings);
JobOutcome RunRemotely(const ServerSettings& server, const JobRequest& request,
                       const std::string& folder, const std::string& name,
                       const JobSurroundings& surroundings);
// Takes up a remote job by its id.
JobOutcome AttachRemotely(const ServerSettings& server, const std::string& job_id,
                          const std::string& folder, const JobSurroundings& surroundings);

absl::StatusOr<Plan> PlanLocally(const JobRequest& request, const JobSurroundings& surroundings);
// The server's own estimate, and whether it would take the job now. It names totals only.
absl::StatusOr<Plan> PlanRemotely(const ServerSettings& server, const JobRequest& request);

// The outcome's error as a status, OK if there is none.
absl::Status OutcomeStatus(const JobOutcome& outcome);
// An outcome that is only an error.
JobOutcome FailedOutcome(const absl::Status& status);

}  // namespace modelpress
