// Distillation: students trained by a teacher, smaller and smaller, and the smallest that still meets a requirement.
#pragma once

#include <functional>
#include <string_view>

#include "absl/status/status.h"
#include "core/base/job_context.h"
#include "core/data/samples.h"
#include "core/model/model.h"
#include "modelpress/v1/pass_report.pb.h"
#include "modelpress/v1/recipe.pb.h"

namespace modelpress {

struct DistillRequest {
  Distill options;
  // For its quality and judging; may be null.
  const Recipe* recipe = nullptr;
  // Whose outputs are learnt.
  const Model* teacher = nullptr;
  // Null: students are made from the model.
  const Model* student = nullptr;
  const DataSet* data = nullptr;
  uint64_t seed = 0;
  // Kept up to date with the report after every student; may be null.
  v1::PassReport* so_far = nullptr;
  // May be null.
  std::function<void(double fraction, std::string_view detail)> progress;
};

// Puts the chosen student into `model`, from which students are made. The report gets a row for each student, its
// trainings, changes, skips and notes. Where nothing can be made smaller the model stays, without changes. New weights go
// to `arena`. The same bytes for the same request, but for limits of time.
//
// Errors: QUALITY_BOUND_MISSED where no student meets the requirement and none is to be kept; RECIPE_INVALID for a given
// student that does not fit; DATA_MISSING; those of NarrowModel, PackTrainingData and TrainModel.
absl::Status DistillModel(Model& model, const DistillRequest& request, WeightArena& arena,
                          const JobContext& context, v1::PassReport* report);

}  // namespace modelpress
