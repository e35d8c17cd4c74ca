// Students that are made from the teacher, or from the student before, with fewer channels.
#pragma once

#include "absl/status/statusor.h"
#include "core/base/job_context.h"
#include "core/channels/narrow_model.h"
#include "core/model/model.h"
#include "core/training/training_data.h"
#include "modelpress/v1/recipe.pb.h"

namespace modelpress {

// The model with this share of its channels, refitted on samples that are trained on. `options` says which channels stay.
// Multiply-accumulates are those of one sample. Errors: those of NarrowModel.
absl::StatusOr<NarrowedModel> NarrowStudent(const Model& from, double share, const Distill& options,
                                            const TrainingData& data, WeightArena& arena,
                                            const JobContext& context,
                                            const NarrowProgress& progress);

// The same without a refit: only for its size, and for what stays whole. Needs no samples.
absl::StatusOr<NarrowedModel> CutStudent(const Model& from, double share, const Distill& options,
                                         const JobContext& context);

}  // namespace modelpress
