// Judging models on held-out samples beside the teacher, with confidence intervals.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/job_context.h"
#include "core/distill/interval.h"
#include "core/distill/kinds.h"
#include "core/distill/requirement.h"
#include "core/model/model.h"
#include "core/training/training_data.h"
#include "modelpress/v1/pass_report.pb.h"

namespace modelpress {

struct Verdict {
  // One for each limit, in order, then accuracy, agreement and cosine where they are known and no limit is on them. Never
  // empty: sqnr_db where there is nothing else.
  std::vector<v1::MetricEstimate> estimates;
  // Every limit is met by the worse end of its interval.
  bool holds = false;
  // Every limit is met by the estimate itself.
  bool value_holds = false;
  // The least share of a limit's interval by which it is met, below 0 where one is missed: orders students.
  double margin = 0;
  // "accuracy is 0.941 (0.921 to 0.957), but must be at least 0.95"; empty if it holds.
  std::string miss;
  // Which limit is missed first; -1: none.
  int missed = -1;
  // Accuracy by the labelled samples alone.
  Interval accuracy_of_labels;
};

class HeldOutJudge {
 public:
  // `data` outlives the judge. DATA_MISSING where there are fewer than 2 held-out samples.
  static absl::StatusOr<std::unique_ptr<HeldOutJudge>> Make(const HeldOutData& data,
                                                            std::vector<Limit> limits,
                                                            double confidence,
                                                            const JobContext& context);
  ~HeldOutJudge();

  // Runs the model over all held-out samples.
  absl::StatusOr<Verdict> Judge(const Model& model) const;
  // The teacher itself, from its stored outputs.
  absl::StatusOr<Verdict> JudgeTeacher() const;

  // Of the samples that are judged by.
  const Sureness& TeacherSureness() const;

 private:
  struct State;
  explicit HeldOutJudge(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace modelpress
