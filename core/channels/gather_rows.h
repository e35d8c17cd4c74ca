// Second moments of the rows of several layers, over samples that run through two models at once.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/base/job_context.h"
#include "core/channels/row_sums.h"
#include "core/data/samples.h"
#include "core/model/model.h"

namespace modelpress {

// x is a value of the one model, y of the other (or of the same).
struct RowRequest {
  RowLayout rows;
  std::string x, y;
  // Every fifth feed is held back; of fewer than five all are in both. Null where `problem` says
  // why.
  std::unique_ptr<RowSums> fit, held_back;
  std::string problem;
};

// Runs every sample once through `of_x` and `of_y`, as far as the values that are asked for. At
// most half of the memory budget (2 GiB if there is none) goes into sums; requests beyond that have
// a problem. The same result for any number of threads. Errors: those of Session and Samples;
// cancellation.
absl::Status GatherRows(const Model& of_x, const Model& of_y, const Samples& samples,
                        const std::vector<RowRequest*>& requests, const JobContext& context);

}  // namespace modelpress
