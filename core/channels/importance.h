// Which channels of a group matter least.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "core/base/job_context.h"
#include "core/channels/dependency_groups.h"
#include "core/channels/narrow_model.h"
#include "core/data/samples.h"
#include "modelpress/v1/recipe.pb.h"

namespace modelpress {

// As an option says.
ChannelImportance ImportanceOf(v1::PruneChannels::Importance importance);

// By group, for each channel; the mean of a group is 1 (0 where all are 0). kL2 reads weights
// alone; kEnergy runs the model once over `samples` and falls back to kL2 for groups that no layer
// with a constant weight reads. `centered`: energy about the mean, as a refit makes the mean good.
// Groups that stay whole have none. Errors: those of GatherStatistics.
absl::StatusOr<std::vector<std::vector<double>>> ScoreChannels(
    Model& model, const GraphIndex& index, const Dependencies& dependencies,
    ChannelImportance importance, const Samples* samples, bool centered, const JobContext& context);

}  // namespace modelpress
