// What a change does to a model's outputs, measured on calibration samples: how passes choose what
// to leave alone.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/base/job_context.h"
#include "core/data/samples.h"
#include "core/measure/task_metrics.h"
#include "core/model/model.h"

namespace modelpress {

// Against the reference, over all samples.
struct ModelLoss {
  // Of the output that lost most, dB (see comparison.h).
  double sqnr_db = 0;
  // Share of positions with the same top-1 class; absent if no output has classes.
  std::optional<double> agreement;
  // Accuracy of the reference minus that of the candidate (share of positions whose class is the
  // label); absent without labels that fit an output.
  std::optional<double> accuracy_drop;
  // On how many samples.
  uint64_t samples = 0;
};

// Runs a reference once and any number of candidates after it, one sample at a time, and compares.
// The reference's outputs lie in scratch, not on the heap.
class LossMeter {
 public:
  // On the caller's calibration split (else train, unlabeled, or the whole set), else on synthetic
  // samples; at most `max_samples`, evenly spread over the split. Errors: those of Session and of
  // the data; with synthetic samples also where the model does not run on them.
  static absl::StatusOr<std::unique_ptr<LossMeter>> Make(const Model& reference,
                                                         const DataSet* data, uint64_t max_samples,
                                                         uint64_t seed, WeightArena& arena,
                                                         const JobContext& context);

  // The same on every feed of `samples`, which must outlive the meter.
  static absl::StatusOr<std::unique_ptr<LossMeter>> On(const Model& reference,
                                                       const Samples& samples, WeightArena& arena,
                                                       const JobContext& context);

  // Loads and runs `candidate`, which takes the same inputs. Errors: those of Session, and
  // ARTIFACT_REJECTED where outputs have other shapes.
  absl::StatusOr<ModelLoss> Measure(const Model& candidate) const;

  uint64_t samples() const { return chosen_.size(); }
  // How many samples the reference and all candidates were run on so far, and how many there are to
  // choose from: their ratio says how often the whole set was run.
  uint64_t samples_run() const { return samples_run_; }
  uint64_t samples_in_all() const { return samples_->batches(); }
  // The reference's own; absent without labels that fit an output.
  const std::optional<double>& accuracy() const { return accuracy_; }
  // Positions that have a class, over all samples; 0 if no output has classes.
  uint64_t positions() const { return positions_; }
  bool synthetic() const { return samples_->synthetic(); }
  // "64 samples of calib split of the caller's data".
  std::string description() const;

 private:
  LossMeter(const Samples& samples, std::vector<uint64_t> chosen, const JobContext& context)
      : samples_(&samples), chosen_(std::move(chosen)), context_(context) {}
  absl::Status RunReference(const Model& reference, WeightArena& arena);

  std::unique_ptr<Samples> owned_;
  const Samples* samples_;
  std::vector<uint64_t> chosen_;  // feeds
  const JobContext& context_;
  std::vector<TensorMap> outputs_;
  TaskSettings settings_;
  bool labels_ = false;
  // Where the reference's scores leave the threshold between two classes open, it is this.
  double threshold_ = 0;
  std::optional<double> accuracy_;
  uint64_t positions_ = 0;
  mutable uint64_t samples_run_ = 0;
};

}  // namespace modelpress
