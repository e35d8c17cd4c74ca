// modelpress jobs: look at, stop and take up jobs of a server.
#include <stdio.h>

#include <memory>

#include "absl/strings/str_cat.h"
#include "client/app/command.h"
#include "client/app/options.h"
#include "client/job/interrupt.h"
#include "client/job/output_files.h"
#include "client/session/channel.h"
#include "client/session/rpc_error.h"
#include "client/session/unary.h"
#include "client/terminal/format.h"
#include "client/terminal/json.h"
#include "client/terminal/report_view.h"
#include "google/protobuf/util/time_util.h"

namespace modelpress {
namespace {

struct JobsOptions {
  std::string job_id;
  std::string output;
  std::string report;
  bool force = false;
  bool json = false;
  ServerOptions server;
};

// "RUNNING" of STATE_RUNNING.
std::string StateName(Job::State state) {
  const std::string name = Job::State_Name(state);
  return name.starts_with("STATE_") ? name.substr(6) : name;
}

std::vector<std::string> Row(const Job& job) {
  const std::string place = job.queue_position() > 0
                                ? absl::StrCat("queued, place ", job.queue_position())
                                : Printable(job.phase());
  return {Printable(job.job_id()), StateName(job.state()), place, FormatPercent(job.fraction()),
          google::protobuf::util::TimeUtil::ToString(job.create_time())};
}

void Print(const Job& job, bool json) {
  if (json) {
    fputs(ToJson(job).c_str(), stdout);
    return;
  }
  TextTable table;
  table.AddRow({"job", "state", "phase", "done", "created"});
  table.AddRow(Row(job));
  fputs(table.ToString("").c_str(), stdout);
  if (job.has_result()) fputs(RenderReport(job.result().report()).c_str(), stdout);
}

// Jobs live on servers: either the id names one, or --server does.
absl::Status CheckServer(const JobsOptions& options) {
  if (options.server.remote() || !InstanceAddress(options.job_id).empty()) return absl::OkStatus();
  return Error(ERROR_REASON_REQUEST_INVALID, "jobs live on servers, and none was given")
      .Remedy("add --server HOST:PORT, or set MODELPRESS_SERVER");
}

absl::Status List(const JobsOptions& options) {
  MP_RETURN_IF_ERROR(CheckServer(options));
  MP_ASSIGN_OR_RETURN(const std::vector<Job> jobs, ListJobs(options.server.address));
  if (options.json) {
    ListJobsResponse all;
    all.mutable_jobs()->Add(jobs.begin(), jobs.end());
    fputs(ToJson(all).c_str(), stdout);
    return absl::OkStatus();
  }
  TextTable table;
  table.AddRow({"job", "state", "phase", "done", "created"});
  for (const Job& job : jobs) table.AddRow(Row(job));
  fputs(table.empty() ? "no jobs\n" : table.ToString("").c_str(), stdout);
  return absl::OkStatus();
}

// Shows the job; the status is how the call went, or how the job ended.
absl::Status Get(const JobsOptions& options) {
  MP_RETURN_IF_ERROR(CheckServer(options));
  MP_ASSIGN_OR_RETURN(const Job job, GetJob(options.server.address, options.job_id));
  Print(job, options.json);
  return job.has_result() ? FromJobStatus(job.result().status()) : absl::OkStatus();
}

absl::Status Cancel(const JobsOptions& options) {
  MP_RETURN_IF_ERROR(CheckServer(options));
  MP_ASSIGN_OR_RETURN(const Job job, CancelJob(options.server.address, options.job_id));
  Print(job, options.json);
  return absl::OkStatus();
}

absl::Status Attach(const JobsOptions& options) {
  MP_RETURN_IF_ERROR(CheckServer(options));
  MP_ASSIGN_OR_RETURN(const auto output, OutputFiles::Prepare(options.output, options.force));
  ProgressDisplay display(ProgressDisplay::StyleOfStderr());
  const JobSurroundings surroundings{&display, &InstallInterruptHandler()};
  const JobOutcome outcome =
      AttachRemotely(options.server.settings(), options.job_id, output->folder(), surroundings);
  display.Clear();
  return FinishJob(outcome, options.report, options.json, output.get());
}

}  // namespace

void RegisterCommand_jobs(CommandRegistry& registry) {
  CLI::App* jobs =
      registry.Add("jobs", "List, show, cancel and take up jobs of a server", {}, nullptr);
  jobs->require_subcommand(1);
  auto add = [&](const char* verb, const char* summary, const char* example, bool with_id,
                 absl::Status (*run)(const JobsOptions&)) {
    auto options = std::make_shared<JobsOptions>();
    CLI::App* app =
        registry.AddBelow(jobs, verb, summary, {example}, [options, run] { return run(*options); });
    if (with_id)
      app->add_option("JOB_ID", options->job_id, "The job's id, with its server's address")
          ->required();
    app->add_flag("--json", options->json, "Print JSON");
    options->server.AddTo(app);
    return std::pair(app, options);
  };
  add("list", "List the jobs of one server", "modelpress jobs list --server localhost:7600", false,
      List);
  add("get", "Show one job", "modelpress jobs get 3f2a@10.0.0.7:7600", true, Get);
  add("cancel", "Cancel a job", "modelpress jobs cancel 3f2a@10.0.0.7:7600", true, Cancel);
  auto [attach, options] =
      add("attach", "Watch a job to its end and fetch its files",
          "modelpress jobs attach 3f2a@10.0.0.7:7600 -o small.onnx", true, Attach);
  attach->add_option("-o,--output", options->output, "File to write")
      ->type_name("FILE")
      ->required();
  attach->add_option("--report", options->report, "Write the whole report as JSON")
      ->type_name("FILE");
  attach->add_flag("--force", options->force, "Replace the output if it exists");
}

}  // namespace modelpress
