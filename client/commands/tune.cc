// modelpress tune: finds the recipe, given what the model must keep.
#include <memory>

#include "client/app/command.h"
#include "client/app/options.h"
#include "client/terminal/json.h"
#include "core/base/mapped_file.h"
#include "core/recipe/recipe_reader.h"

namespace modelpress {
namespace {

struct TuneOptions : JobOptions {
  std::string objective = "size";
  std::string resume;
  uint32_t max_evaluations = 0;
};

// The trail of a report that an earlier run wrote.
absl::Status ReadTrail(const std::string& path, Tune* tune) {
  MP_ASSIGN_OR_RETURN(const auto file, MappedFile::OpenForReading(path));
  const auto bytes = file->bytes();
  Report report;
  MP_RETURN_IF_ERROR(FromJson(
      std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()), path, &report));
  for (const PassReport& pass : report.passes()) tune->mutable_trail()->MergeFrom(pass.trail());
  return absl::OkStatus();
}

absl::Status RunTune(const TuneOptions& options) {
  Recipe recipe;
  Tune& tune = *recipe.add_passes()->mutable_tune();
  tune.set_objective(options.objective == "latency" ? Tune::OBJECTIVE_LATENCY
                                                    : Tune::OBJECTIVE_SIZE);
  tune.set_max_evaluations(options.max_evaluations);
  for (const std::string& argument : options.require) {
    MP_ASSIGN_OR_RETURN(const QualityBound bound, ReadRequireArgument(argument));
    const std::string& metric = bound.metric();
    // The others only count for the finished artifact.
    if (metric == "accuracy" || metric == "agreement" || metric == "sqnr_db")
      *tune.add_bounds() = bound;
  }
  if (!options.resume.empty()) MP_RETURN_IF_ERROR(ReadTrail(options.resume, &tune));
  return RunJob(options, std::move(recipe));
}

}  // namespace

void RegisterCommand_tune(CommandRegistry& registry) {
  auto options = std::make_shared<TuneOptions>();
  CLI::App* app = registry.Add(
      "tune", "Find the smallest or fastest model that keeps what you require",
      {"modelpress tune model.onnx -o small.onnx --data samples/ --require accuracy.max_drop=0.005",
       "modelpress tune model.onnx -o fast.onnx --data samples/ --require agreement.min=0.99 "
       "--objective latency",
       "modelpress tune model.onnx -o small.onnx --data samples/ --report trail.json",
       "modelpress tune model.onnx -o small.onnx --data samples/ --resume trail.json"},
      [options] { return RunTune(*options); });
  options->AddTo(app);
  app->add_option("--objective", options->objective,
                  "size: the fewest bytes; latency: the shortest run")
      ->check(CLI::IsMember({"size", "latency"}))
      ->capture_default_str();
  app->add_option("--max-evaluations", options->max_evaluations,
                  "How often the calibration samples may be run; 0: 40")
      ->type_name("N");
  app->add_option("--resume", options->resume,
                  "Report (JSON) of an earlier run: what it measured is not measured again")
      ->type_name("FILE");
}

}  // namespace modelpress
