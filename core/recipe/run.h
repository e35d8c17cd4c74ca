// The whole core API: files on disk and a recipe in, files on disk and a report out.
//
// The same call runs in the CLI, in a server's worker process and in a Kubernetes Job. Not
// re-entrant per context; several jobs may run at once with their own contexts.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/base/job_context.h"
#include "core/formats/format.h"

namespace modelpress::v1 {
class JobOutcome;
class Plan;
class Recipe;
}  // namespace modelpress::v1

namespace modelpress {

struct JobInputs {
  InputFiles model;
  // Further models, as the roles STUDENT and GRAPH of job.proto say; no file: none. Each has a folder of its own in its name
  // ("graph/model.onnx") and its external data are those sidecars of `model` that lie in it ("graph/weights.data"); see
  // job_files.h.
  InputFile student, graph;
  // Folder or ZIP of samples; empty: none.
  std::string data_path;
  // SHA-256 of the main file and sidecars by name where the caller already knows them (a server has
  // checked them); missing ones are computed while the passes run.
  std::map<std::string, std::string> known_sha256;
  // Where artifact files are written, and the main file's name.
  std::string output_folder;
  std::string output_name = "model.onnx";
};

// Runs read -> passes -> write -> gate. The outcome always has the report as far as it got; `error`
// is set if the job failed or missed a bound. Never throws; whatever the libraries below throw
// becomes an error.
JobOutcome RunRecipe(const JobInputs& inputs, const Recipe& recipe, const JobContext& context);

// Validates and estimates without running (reads the skeleton only).
absl::StatusOr<Plan> MakePlan(const JobInputs& inputs, const Recipe& recipe,
                              const JobContext& context);
// A plan from sizes alone, before any byte is there (a server's admission): an upper estimate.
Plan MakePlanFromSizes(uint64_t model_bytes, uint64_t data_bytes, const Recipe& recipe);

// The version of modelpress ("0.1.0"), part of every artifact's provenance.
std::string_view Version();

}  // namespace modelpress
