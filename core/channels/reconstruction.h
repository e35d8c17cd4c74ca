// Which channels others can stand in for: what is lost when a channel goes and its readers are
// refitted.
//
// For a reader y = W^T x with C the covariance of x over samples and P = C^-1, removing the rows c
// of W and giving the others the least squares adds
//
//   tr(W_c^T (P_cc)^-1 W_c),  and then
//   W <- W - P_:c (P_cc)^-1 W_c,   P <- P - P_:c (P_cc)^-1 P_c:
//
// to the squared error (optimal brain surgeon, Hassibi and Stork 1993, for blocks; Frantar and
// Alistarh 2022, "Optimal brain compression"). Channels go one after the other, always the one that
// adds least to the relative errors of all readers of the group together.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "core/base/job_context.h"
#include "core/channels/dependency_groups.h"
#include "core/data/samples.h"

namespace modelpress {

// By group, for each channel: the relative squared error that its removal adds, when it goes in the
// order of these scores; never less than that of the one before. Empty for groups that stay whole,
// and for those with a reader that cannot be refitted, or with more than 2048 inputs or only one
// channel. One forward over `samples`. Errors: those of GatherRows.
absl::StatusOr<std::vector<std::vector<double>>> ScoreByReconstruction(
    Model& model, const GraphIndex& index, const Dependencies& dependencies, const Samples& samples,
    const JobContext& context);

}  // namespace modelpress
