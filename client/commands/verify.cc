// modelpress verify: one model beside another, by the same gate that every artifact passes.
#include <stdio.h>

#include <memory>
#include <optional>

#include "client/app/command.h"
#include "client/app/options.h"
#include "client/job/interrupt.h"
#include "client/job/output_files.h"
#include "client/terminal/json.h"
#include "client/terminal/report_view.h"
#include "core/formats/input_files.h"
#include "core/gate/gate.h"
#include "core/recipe/recipe_reader.h"
#include "modelpress/v1/recipe.pb.h"

namespace modelpress {
namespace {

struct VerifyOptions {
  std::string original;
  std::string candidate;
  std::string data;
  std::vector<std::string> require;
  std::string report;
  size_t threads = 0;
  bool json = false;
};

// A model and the files that its weights are in.
struct Loaded {
  Model model;
  std::vector<std::shared_ptr<const MappedFile>> files;
};

absl::StatusOr<Loaded> Load(const std::string& path, const JobContext& context) {
  MP_ASSIGN_OR_RETURN(const InputFiles inputs, OpenModelFiles(path));
  MP_ASSIGN_OR_RETURN(const Format* format, FormatRegistry::Get().Recognise(inputs));
  Loaded loaded;
  MP_ASSIGN_OR_RETURN(loaded.model, format->Read(inputs, Import(), context));
  loaded.files.push_back(inputs.main.file);
  for (const InputFile& sidecar : inputs.sidecars) loaded.files.push_back(sidecar.file);
  return loaded;
}

absl::Status Verify(const VerifyOptions& options) {
  Recipe recipe;
  MP_RETURN_IF_ERROR(AddRequirements(options.require, &recipe));
  MP_ASSIGN_OR_RETURN(const auto scratch, Scratch::Temporary(0));
  ThreadPool pool(options.threads);
  JobContext context;
  context.pool = &pool;
  context.scratch = scratch.get();
  context.cancellation = &InstallInterruptHandler();
  const InterruptGuard guard(scratch->folder());
  MP_ASSIGN_OR_RETURN(const Loaded original, Load(options.original, context));
  MP_ASSIGN_OR_RETURN(const Loaded candidate, Load(options.candidate, context));
  std::unique_ptr<DataSet> data;
  if (!options.data.empty()) {
    MP_ASSIGN_OR_RETURN(data, DataSet::Open(options.data, scratch.get()));
  }
  GateInput input;
  input.original = &original.model;
  input.artifact = &candidate.model;
  input.original_files = original.files;
  input.artifact_files = candidate.files;
  input.data = data.get();
  input.recipe = &recipe;
  Report report;
  MP_RETURN_IF_ERROR(RunGate(input, context, &report));
  if (!options.report.empty()) MP_RETURN_IF_ERROR(WriteTextFile(options.report, ToJson(report)));
  fputs((options.json ? ToJson(report) : RenderReport(report)).c_str(), stdout);
  return MissedBound(report);
}

}  // namespace

void RegisterCommand_verify(CommandRegistry& registry) {
  auto options = std::make_shared<VerifyOptions>();
  CLI::App* app =
      registry.Add("verify", "Compare a model with another: outputs, quality, size, speed",
                   {"modelpress verify model.onnx small.onnx --data samples/",
                    "modelpress verify model.onnx small.onnx --require sqnr_db.min=40"},
                   [options] { return Verify(*options); });
  app->add_option("A", options->original, "The model to compare with")->required();
  app->add_option("B", options->candidate, "The model in question")->required();
  AddJudgingOptions(app, &options->data, &options->require);
  app->add_option("--report", options->report, "Write the whole report as JSON")->type_name("FILE");
  app->add_option("--threads", options->threads, "Threads; 0: all cores")
      ->type_name("N")
      ->capture_default_str();
  app->add_flag("--json", options->json, "Print the report as JSON instead of a table");
}

}  // namespace modelpress
