// Students: one that the caller gives, one of random weights; and what the trainer needs to know of any.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/job_context.h"
#include "core/data/samples.h"
#include "core/model/model.h"
#include "core/training/training_data.h"
#include "modelpress/v1/pass_report.pb.h"

namespace modelpress {

// The first `rows` rows of packed arrays as samples, several a feed where they can be joined: running them one by one costs
// most of the time. `data` outlives it.
class PackedSamples final : public Samples {
 public:
  PackedSamples(const PackedRows& data, uint64_t rows);
  uint64_t size() const override { return rows_; }
  uint64_t batches() const override { return (rows_ + per_feed_ - 1) / per_feed_; }
  absl::StatusOr<Batch> Read(uint64_t index) const override;
  bool has_labels() const override { return false; }
  std::string description() const override { return "samples that are trained on"; }

 private:
  const PackedRows& data_;
  uint64_t rows_, per_feed_;
};

// RECIPE_INVALID, naming it, where an input or output of the student is not one of the teacher's, has another type or
// shape, or other classes.
absl::Status CheckStudent(const Model& teacher, const Model& student);

// Elements of floating-point weights.
uint64_t ParametersOf(const Model& model);

// The model with random weights: normal with variance 2 / fan-in for matrices and filters (He et al. 2015), biases 0,
// scales of normalizations 1, their statistics 0 and 1.
absl::StatusOr<Model> WithRandomWeights(const Model& model, uint64_t seed, WeightArena& arena);

// What became of every float constant of the teacher and of the student: a Change where it is in the student, a Skip
// where it is gone or was left as it is.
void DescribeChanges(const Model& teacher, const Model& student, v1::PassReport* report);

// The labelled rows alone; those for validation too, where some have labels, else every tenth. Fewer than 2 labelled
// rows: DATA_MISSING.
absl::StatusOr<TrainingData> LabelledOnly(const TrainingData& data, const JobContext& context);

}  // namespace modelpress
