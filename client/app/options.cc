// Shared options and the way of a job through the command line; see options.h.
#include "client/app/options.h"

#include <stdio.h>

#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/job/interrupt.h"
#include "client/job/output_files.h"
#include "client/report/html_report.h"
#include "client/terminal/format.h"
#include "client/terminal/json.h"
#include "client/terminal/report_view.h"
#include "core/recipe/recipe_reader.h"

namespace modelpress {

void ServerOptions::AddTo(CLI::App* app) {
  app->add_option("--server", address,
                  "Server as HOST:PORT (every address behind the name is used) or a gRPC target; "
                  "without it the work "
                  "is done in this process")
      ->envname("MODELPRESS_SERVER")
      ->type_name("HOST:PORT");
  app->add_option(
         "--retry-seconds", retry_seconds,
         "How long to try again without any progress when the server is unreachable or overloaded")
      ->check(CLI::Range(0.0, 86400.0))
      ->type_name("SECONDS")
      ->capture_default_str();
}

ServerSettings ServerOptions::settings() const {
  return {address, std::chrono::milliseconds(static_cast<int64_t>(retry_seconds * 1000))};
}

void AddJudgingOptions(CLI::App* app, std::string* data, std::vector<std::string>* require) {
  app->add_option(
         "--data", *data,
         "Samples to judge and calibrate by: folder or ZIP of SPLIT/INPUT.npy and SPLIT/labels.npy")
      ->type_name("DIR|ZIP");
  app->add_option("--require", *require,
                  "Bound that must hold, METRIC.LIMIT=NUMBER with min, max, max_drop or "
                  "max_relative_drop; repeatable")
      ->type_name("BOUND")
      ->allow_extra_args(false);
}

void JobOptions::AddTo(CLI::App* app) {
  app->add_option("MODEL", model, "The model; its external data is read from the same folder")
      ->required();
  app->add_option("-o,--output", output, "File to write")->type_name("FILE");
  AddJudgingOptions(app, &data, &require);
  app->add_option("--gate", gate,
                  "full: run the artifact beside the original; structure: only check the file")
      ->check(CLI::IsMember({"full", "structure"}));
  app->add_option("--report", report,
                  "Write the whole report: a web page if FILE ends in .html, else JSON")
      ->type_name("FILE");
  app->add_option("--threads", threads,
                  "Threads of a local job; 0: all cores. The result's bytes do not depend on it")
      ->type_name("N")
      ->capture_default_str();
  app->add_option("--deadline", deadline_seconds,
                  "How long the job may run; trainings and searches end in time with what they "
                  "have. 0: as long as it takes, or as the server allows")
      ->check(CLI::NonNegativeNumber)
      ->type_name("SECONDS")
      ->capture_default_str();
  app->add_flag("--plan", plan, "Only say what memory, scratch and time it will need");
  app->add_flag("--force", force, "Replace the output if it exists");
  app->add_flag("--json", json, "Print the outcome as JSON instead of a table");
  server.AddTo(app);
}

absl::Status AddRequirements(const std::vector<std::string>& require, Recipe* recipe) {
  for (const std::string& argument : require) {
    MP_ASSIGN_OR_RETURN(*recipe->add_quality(), ReadRequireArgument(argument));
  }
  return absl::OkStatus();
}

absl::Status FinishJob(const JobOutcome& outcome, const std::string& report_path, bool json,
                       OutputFiles* output) {
  if (outcome.has_report()) {
    if (!report_path.empty()) {
      const bool page = absl::EndsWithIgnoreCase(report_path, ".html") ||
                        absl::EndsWithIgnoreCase(report_path, ".htm");
      MP_RETURN_IF_ERROR(WriteTextFile(
          report_path, page ? RenderHtmlReport(outcome.report()) : ToJson(outcome.report())));
    }
  }
  if (!outcome.files().empty()) MP_RETURN_IF_ERROR(output->Publish(outcome.files()));
  if (json) {
    fputs(ToJson(outcome).c_str(), stdout);
  } else if (outcome.has_report() &&
             (!outcome.has_error() ||
              outcome.error().reason() == ERROR_REASON_QUALITY_BOUND_MISSED)) {
    std::string text = RenderReport(outcome.report());
    for (const ArtifactFile& file : outcome.files()) {
      absl::StrAppend(&text, "Wrote ", Printable(file.name()), ", ", FormatBytes(file.size_bytes()),
                      ", SHA-256 ", file.sha256(), "\n");
    }
    fputs(text.c_str(), stdout);
  }
  if (fflush(stdout) != 0) {
    return Error(ERROR_REASON_FILE_ACCESS, "cannot write the result to standard output")
        .Remedy("look at where the output is sent");
  }
  return OutcomeStatus(outcome);
}

absl::Status RunJob(const JobOptions& options, Recipe recipe) {
  if (!options.gate.empty()) {
    recipe.mutable_judging()->set_gate(options.gate == "full" ? Judging::GATE_FULL
                                                              : Judging::GATE_STRUCTURE);
  }
  MP_RETURN_IF_ERROR(AddRequirements(options.require, &recipe));
  const JobRequest request{options.model,   options.data,  std::move(recipe),
                           options.student, options.graph, options.deadline_seconds};
  ProgressDisplay display(ProgressDisplay::StyleOfStderr());
  const JobSurroundings surroundings{&display, &InstallInterruptHandler(), options.threads};
  if (options.plan) {
    MP_ASSIGN_OR_RETURN(const Plan plan, options.server.remote()
                                             ? PlanRemotely(options.server.settings(), request)
                                             : PlanLocally(request, surroundings));
    fputs((options.json ? ToJson(plan) : RenderPlan(plan)).c_str(), stdout);
    return absl::OkStatus();
  }
  if (options.output.empty()) {
    return Error(ERROR_REASON_REQUEST_INVALID, "no output file was given")
        .Remedy("add -o FILE, or --plan");
  }
  MP_ASSIGN_OR_RETURN(const auto output, OutputFiles::Prepare(options.output, options.force));
  const JobOutcome outcome =
      options.server.remote() ? RunRemotely(options.server.settings(), request, output->folder(),
                                            output->name(), surroundings)
                              : RunLocally(request, output->folder(), output->name(), surroundings);
  display.Clear();
  return FinishJob(outcome, options.report, options.json, output.get());
}

}  // namespace modelpress
