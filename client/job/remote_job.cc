// A job on a server; see job.h.
#include <filesystem>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "client/job/interrupt.h"
#include "client/job/job.h"
#include "client/job/open_inputs.h"
#include "client/session/job_session.h"
#include "client/terminal/format.h"
#include "core/base/heap.h"
#include "core/base/scratch.h"
#include "core/data/zip_writer.h"

namespace modelpress {
namespace {

// What is sent, with the temporary ZIP of a data folder.
struct Inputs {
  Upload upload;
  std::unique_ptr<Scratch> scratch;
  std::optional<InterruptGuard> guard;
};

absl::Status OpenUpload(const JobRequest& request, Inputs* inputs) {
  MP_ASSIGN_OR_RETURN(const JobInputs files, OpenInputs(request));
  inputs->upload.Add(Blob::ROLE_MODEL, files.model.main.name, files.model.main.file);
  if (files.student.file != nullptr) {
    inputs->upload.Add(Blob::ROLE_STUDENT, files.student.name, files.student.file);
  }
  if (files.graph.file != nullptr) {
    inputs->upload.Add(Blob::ROLE_GRAPH, files.graph.name, files.graph.file);
  }
  for (const InputFile& sidecar : files.model.sidecars) {
    inputs->upload.Add(Blob::ROLE_SIDECAR, sidecar.name, sidecar.file);
  }
  if (request.data_path.empty()) return absl::OkStatus();
  std::string zip = request.data_path;
  std::error_code ignored;
  if (std::filesystem::is_directory(request.data_path, ignored)) {
    MP_ASSIGN_OR_RETURN(inputs->scratch, Scratch::Temporary(0));
    inputs->guard.emplace(inputs->scratch->folder());
    zip = absl::StrCat(inputs->scratch->folder(), "/data.zip");
    MP_RETURN_IF_ERROR(WriteStoredZip(request.data_path, zip));
  }
  MP_ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> data, MappedFile::OpenForReading(zip));
  inputs->upload.Add(Blob::ROLE_DATA, "data.zip", std::move(data));
  return absl::OkStatus();
}

JobSpec SpecOf(const JobRequest& request) {
  JobSpec spec;
  *spec.mutable_recipe() = request.recipe;
  spec.set_deadline_seconds(request.deadline_seconds);
  return spec;
}

SessionCallbacks ShowOn(ProgressDisplay* display) {
  SessionCallbacks callbacks;
  callbacks.event = [display](const JobEvent& event) {
    if (event.phase() == "uploading") return;  // what this side sends says more
    std::string detail = event.detail();
    if (event.queue_position() > 0)
      detail = absl::StrCat("place ", event.queue_position(), " in the queue");
    display->Update(event.phase(), event.phase_fraction(), event.total_fraction(), detail);
  };
  // Sending and fetching are stretches of their own, beside the job's fraction.
  const auto transfer = [display](const char* phase, uint64_t done, uint64_t total) {
    const double share = total == 0 ? 1 : static_cast<double>(done) / static_cast<double>(total);
    display->Update(phase, share, share,
                    absl::StrCat(FormatBytes(done), " of ", FormatBytes(total)));
  };
  callbacks.upload = [transfer](uint64_t done, uint64_t total) { transfer("upload", done, total); };
  callbacks.download = [transfer](uint64_t done, uint64_t total) {
    transfer("download", done, total);
  };
  callbacks.note = [display](std::string_view line) { display->Note(line); };
  return callbacks;
}

JobOutcome ToOutcome(const absl::StatusOr<JobResult>& result) {
  if (!result.ok()) return FailedOutcome(result.status());
  const absl::Status status = FromJobStatus(result->status());
  JobOutcome outcome = status.ok() ? JobOutcome() : FailedOutcome(status);
  *outcome.mutable_report() = result->report();
  *outcome.mutable_files() = result->files();
  return outcome;
}

JobSession::Options SessionOptionsOf(const ServerSettings& server, Cancellation* cancellation) {
  JobSession::Options options;
  options.server = server.address;
  options.retry_for = server.retry_for;
  options.cancellation = cancellation;
  return options;
}

}  // namespace

JobOutcome RunRemotely(const ServerSettings& server, const JobRequest& request,
                       const std::string& folder, const std::string& name,
                       const JobSurroundings& surroundings) {
  KeepChunksInHeap();
  Inputs inputs;
  if (absl::Status status = OpenUpload(request, &inputs); !status.ok())
    return FailedOutcome(status);
  JobSpec spec = SpecOf(request);
  spec.set_output_name(name);
  JobSession session(SessionOptionsOf(server, surroundings.cancellation),
                     ShowOn(surroundings.display));
  return ToOutcome(session.Run(spec, &inputs.upload, folder));
}

JobOutcome AttachRemotely(const ServerSettings& server, const std::string& job_id,
                          const std::string& folder, const JobSurroundings& surroundings) {
  JobSession session(SessionOptionsOf(server, surroundings.cancellation),
                     ShowOn(surroundings.display));
  return ToOutcome(session.Attach(job_id, folder));
}

absl::StatusOr<Plan> PlanRemotely(const ServerSettings& server, const JobRequest& request) {
  Inputs inputs;
  MP_RETURN_IF_ERROR(OpenUpload(request, &inputs));
  JobSession session(SessionOptionsOf(server, nullptr), SessionCallbacks());
  MP_ASSIGN_OR_RETURN(const JobAccepted accepted, session.Validate(SpecOf(request), inputs.upload));
  Plan plan;
  plan.set_memory_bytes(accepted.planned_memory_bytes());
  plan.set_scratch_bytes(accepted.planned_scratch_bytes());
  return plan;
}

}  // namespace modelpress
