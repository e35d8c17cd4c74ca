// Codes of few bits for one weight after another, by the method that the options name, never worse
// than plain rounding.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/passes/pass.h"
#include "core/quant/block_weight.h"
#include "core/quant/gptq.h"
#include "core/quant/progress.h"
#include "core/quant/weight_coding.h"
#include "core/statistics/statistics.h"

namespace modelpress {

class BlockEncoder {
 public:
  BlockEncoder(const Model& model, PassContext& context) : model_(model), context_(context) {}

  // Plans what the weight's method needs of the data; call for all weights before Calibrate.
  void Plan(const GraphIndex& index, const std::map<const onnx::GraphProto*, std::string>& paths,
            const CandidateWeight& weight, const WeightCoding& coding);
  // Plans the mean squares that RelativeError weighs by, where there is data.
  void PlanEnergy(const GraphIndex& index,
                  const std::map<const onnx::GraphProto*, std::string>& paths,
                  const CandidateWeight& weight);
  // Share of the weight's output that rounding by `rule` takes: squared error over squares, rows
  // weighted with what is known of the inputs.
  absl::StatusOr<double> RelativeError(const BlockWeight& block, const BlockRule& rule,
                                       const BlockLayout& layout) const;
  bool NeedsData() const { return !requests_.empty(); }
  // One forward over at most `max_samples` calibration samples.
  absl::Status Calibrate(uint64_t max_samples, const std::function<void(double)>& progress);

  // Fills in the codes of `block`, whose layout is chosen, and the change's figures. A skip if it
  // holds values that are not finite.
  absl::StatusOr<std::optional<Skip>> Encode(const WeightCoding& coding, BlockWeight* block,
                                             WeightProgress& progress, Change* change);

  // What a person should know of all weights together.
  void AddNotes(PassReport* report) const;

 private:
  // Mean squares of the weight's inputs.
  static std::vector<float> EnergyOf(const ValueStatistics& statistics);
  // awq: scales the rows where that is better than plain rounding. Sets row_factors, or leaves the
  // weight to be coded without.
  absl::StatusOr<std::optional<EncodedBlocks>> EncodeScaled(const ValueStatistics* statistics,
                                                            BlockWeight* block,
                                                            WeightProgress& progress,
                                                            Change* change);
  // The statistics of the weight's input; null with the reason why the method has none.
  const ValueStatistics* Find(const BlockWeight& block, Calibration calibration,
                              std::string* reason) const;
  absl::StatusOr<const GptqFactor*> Factor(const BlockWeight& block, const ValueKey& key,
                                           const Gram& gram);
  absl::StatusOr<JudgedBlocks> EncodeWithData(Calibration calibration, const ValueKey& key,
                                              const ValueStatistics& statistics, BlockWeight* block,
                                              WeightProgress& progress, std::string* reason);
  absl::StatusOr<EncodedBlocks> EncodeAlone(BlockWeight* block, const ByteProgress& progress);

  const Model& model_;
  PassContext& context_;
  std::map<std::string, ValueKey> inputs_;              // by weight
  std::map<std::string, std::vector<float>> energies_;  // by weight, where there is no data
  std::vector<StatisticRequest> requests_;
  std::optional<Statistics> statistics_;
  bool synthetic_ = false;
  std::string data_;
  // Of the input and block size that came last: weights with the same input follow each other.
  std::optional<std::pair<ValueKey, GptqFactor>> factor_;
  int better_ = 0, rounded_ = 0, fallbacks_ = 0;
  std::string first_fallback_;
};

}  // namespace modelpress
