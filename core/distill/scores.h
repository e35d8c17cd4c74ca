// What a model makes of held-out samples, row by row, beside the teacher.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/job_context.h"
#include "core/distill/interval.h"
#include "core/measure/task_metrics.h"
#include "core/model/model.h"
#include "core/training/training_data.h"

namespace modelpress {

struct Scores {
  Tally agree, right, right_difference, bits, bits_difference;
  // By output of the data: squares of the difference over those of the teacher's output.
  std::vector<Tally> noise;
  // By output of the data, of embeddings: cosines to the teacher's vectors, of positions where these are not 0.
  std::vector<Tally> cosine;
  // Rows of `right` and so on are the labelled ones; which rows have labels.
  std::vector<bool> labelled;
  // Of labelled positions, by labelled row: label, class of the model, class of the teacher.
  struct Decision {
    uint32_t row;
    int32_t label, chosen, teacher;
  };
  std::vector<Decision> decisions;
};

// The outputs of rows [first, first + count).
using RunRows = std::function<absl::StatusOr<TensorMap>(uint64_t first, uint64_t count)>;

// By running the model. `data` outlives it. Errors: those of Session.
absl::StatusOr<RunRows> Runner(const Model& model, const PackedRows& data,
                               const JobContext& context);
// The teacher's, as they are stored.
RunRows StoredTeacher(const PackedRows& data);

// Above which a score of a binary task is class 1; where the settings leave it open, as the teacher's scores say.
double ThresholdOf(const TaskSettings& task, const PackedRows& data);

// Of all rows. ARTIFACT_REJECTED where an output is missing or has another shape than the teacher's; those of `run`.
absl::StatusOr<Scores> ScoreRows(const HeldOutData& data, double threshold, const RunRows& run,
                                 const JobContext& context);

}  // namespace modelpress
