// Reading the model of a job, whatever its format.
#pragma once

#include "absl/status/statusor.h"
#include "core/base/job_context.h"
#include "core/formats/format.h"
#include "core/model/model.h"

namespace modelpress {

// As Format::Read, then brought to the opset that the options ask for. RECIPE_INVALID where options of an import are
// given for a model that is ONNX already.
// `notes` as Format::Read has it.
absl::StatusOr<Model> ReadModel(const Format& format, const InputFiles& files,
                                const Import& options, const JobContext& context,
                                std::vector<std::string>* notes = nullptr);

}  // namespace modelpress
