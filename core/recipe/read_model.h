// Reading the model of a job, whatever its format.
#pragma once

#include "absl/status/statusor.h"
#include "core/base/job_context.h"
#include "core/formats/format.h"
#include "core/model/model.h"
#include "core/recipe/run.h"

namespace modelpress {

// As Format::Read; what was converted gets its BatchNormalizations folded and the opset that the options ask for. RECIPE_INVALID where options of an import are
// given for a model that is ONNX already.
// `notes` as Format::Read has it.
absl::StatusOr<Model> ReadModel(const Format& format, const InputFiles& files,
                                const Import& options, const JobContext& context,
                                std::vector<std::string>* notes = nullptr);

struct JobModel {
  Model model;
  // What it was read as; of a graph that got new weights, the graph's.
  const Format* format = nullptr;
  // For sizes: of a graph that got new weights, the graph's.
  InputFiles files;
};

// The model of a job: JobInputs.model, or JobInputs.graph with the weights of it put in by name. RECIPE_INVALID lists every
// tensor that does not fit; FORMAT_UNSUPPORTED if there is a graph and the model is no file of weights.
absl::StatusOr<JobModel> ReadJobModel(const JobInputs& inputs, const Import& options,
                                      const JobContext& context,
                                      std::vector<std::string>* notes = nullptr);

}  // namespace modelpress
