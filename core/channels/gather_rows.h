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

// Fewer feeds than this are too few to hold some back for good.
inline constexpr uint64_t kFewFeeds = 20;

// x is a value of the one model, y of the other (or of the same).
struct RowRequest {
  RowLayout rows;
  std::string x, y;
  // Feeds in parts, so that a fit can be judged on others than it was made on. Of kFewFeeds and more
  // the second part is every fifth feed, held back; fewer are dealt out to up to five parts, each of
  // which is to judge the fits that are made on the others (cross-validation). Empty where `problem`
  // says why.
  std::vector<std::unique_ptr<RowSums>> parts;
  bool cross = false;
  std::string problem;
};

// The moments of a request's parts, by group: what is fitted on, and what judges it.
class FitMoments {
 public:
  // Of a request without a problem, whose sums it copies.
  explicit FitMoments(const RowRequest& request);

  // A fit is tried so many times; `Share` of the rows that judge judge a trial.
  size_t trials() const { return cross_ ? parts_.size() : 1; }
  std::vector<RowMoments> ForTrial(size_t trial) const;
  const std::vector<RowMoments>& Judge(size_t trial) const {
    return cross_ ? parts_[trial] : parts_.back();
  }
  double Share(size_t trial) const;
  // All rows, or those that are not held back.
  std::vector<RowMoments> ForGood() const;

 private:
  // The rows of all parts but one together.
  std::vector<RowMoments> Without(size_t part) const;

  // By part and group.
  std::vector<std::vector<RowMoments>> parts_;
  // More than one part, each judging the others.
  bool cross_ = false;
};

// Runs every sample once through `of_x` and `of_y`, as far as the values that are asked for. At
// most half of the memory budget (2 GiB if there is none) goes into sums; requests beyond that have
// a problem. The same result for any number of threads. Errors: those of Session and Samples;
// cancellation.
absl::Status GatherRows(const Model& of_x, const Model& of_y, const Samples& samples,
                        const std::vector<RowRequest*>& requests, const JobContext& context);

}  // namespace modelpress
