// What is known of the values that weights are multiplied with: from calibration samples, or from the
// LayerNormalization that makes them.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/base/job_context.h"
#include "core/data/samples.h"
#include "core/quant/weight_coding.h"
#include "core/quant/weight_selection.h"
#include "core/statistics/statistics.h"

namespace modelpress {

// Plan for every weight, then Gather, then ask. Not thread-safe. `model`, `job` and `data` (null:
// there is none) must outlive it.
class WeightInputs {
 public:
  WeightInputs(Model& model, const JobContext& job, const DataSet* data, uint64_t seed)
      : model_(model), job_(job), data_(data), seed_(seed) {}

  // Plans what a method wants of the inputs of MatMul's and Gemm's weights; other weights have none.
  void Plan(const GraphIndex& index, const CandidateWeight& weight, Calibration wanted);
  // Plans the mean squares only, and those only where they cost no made-up samples.
  void PlanEnergy(const GraphIndex& index, const CandidateWeight& weight);

  // One forward over at most `max_samples` calibration samples (synthetic ones without data), where
  // something that was planned needs it.
  bool NeedsForward() const { return !requests_.empty(); }
  absl::Status Gather(uint64_t max_samples, const std::function<void(double)>& progress);

  // The input of a weight with its Grams, of the size of its `rows`; null with the reason.
  const ValueStatistics* FindGrams(const CandidateWeight& weight, uint64_t rows,
                                   std::string* reason) const;
  // Mean square of each of the `rows` inputs; empty if they are not known.
  std::vector<float> Energy(const CandidateWeight& weight, uint64_t rows) const;
  // The value behind a weight that has statistics.
  const ValueKey& Key(const CandidateWeight& weight) const { return keys_.at(weight.name); }

  // What was calibrated on, for people; empty if nothing was.
  const std::string& description() const { return description_; }

 private:
  std::optional<ValueKey> Find(const GraphIndex& index, const CandidateWeight& weight);
  void Request(const std::string& weight, const ValueKey& key, StatisticRequest request);

  Model& model_;
  const JobContext& job_;
  const DataSet* data_;
  uint64_t seed_;
  std::optional<GraphPaths> paths_;
  std::map<std::string, ValueKey> keys_;                // by weight
  std::map<std::string, std::vector<float>> energies_;  // by weight, where there is no data
  std::vector<StatisticRequest> requests_;
  std::optional<Statistics> statistics_;
  std::string description_;
};

// What gathering Grams for all MatMuls and Gemms and factoring them costs at most, for plans.
struct GramCost {
  uint64_t memory_bytes = 0;
  double seconds = 0;
};
GramCost EstimateGrams(const Model& model);

}  // namespace modelpress
