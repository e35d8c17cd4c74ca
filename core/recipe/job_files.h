// Which of a job's files belong to which of its models.
#pragma once

#include <cstdint>

#include "core/recipe/run.h"

namespace modelpress {

// The model alone, without what belongs to the further models.
InputFiles FilesOfModel(const JobInputs& inputs);
// A further model (JobInputs.student or .graph) with the sidecars that lie in its folder, named relative to that folder as
// the model's external data names them.
InputFiles FilesOf(const InputFile& further, const JobInputs& inputs);

// Every model file of the job together.
uint64_t ModelBytes(const JobInputs& inputs);
uint64_t BytesOf(const InputFiles& files);

}  // namespace modelpress
