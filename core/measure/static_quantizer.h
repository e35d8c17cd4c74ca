// Building quantized versions of one float model: calibrated once, then any subset of its layers
// with any choice of ranges.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/data/samples.h"
#include "core/quant/choose_range.h"
#include "core/quant/qdq_rewrite.h"
#include "core/statistics/statistics.h"

namespace modelpress {

// A range of its own for some values.
struct RangeException {
  // Globs over value names.
  std::vector<std::string> match;
  // Either the rule, or the range itself.
  std::optional<RangeRule> rule;
  std::optional<ValueRange> range;
};

struct StaticQuantization {
  QdqRewrite rewrite;
  AffineRule weights;
  bool per_channel = true;
  std::vector<RangeException> exceptions;
};

// What is known about one layer, for reports and for choosing.
struct StaticLayer {
  QdqLayer layer;
  // Empty if it can be quantized.
  std::string problem;
  // Multiply-accumulates for one sample; 0 if it was not seen.
  double macs = 0;
  std::optional<CodedMatrix> weight;
  std::optional<double> weight_sqnr_db;
  // Of the first activation: the range of its grid, the share of values outside, expected SQNR.
  ValueRange range;
  double clipped_share = 0;
  std::optional<double> activation_sqnr_db;
  // Channels whose weight scale was raised so that their bias fits in 32 bits.
  uint64_t raised_channels = 0;
  // Share of neighbouring weight pairs whose products with the largest activation codes do not fit
  // in 16 bits: what CPUs without VNNI would saturate in u8 x s8 kernels.
  double saturating_pairs = 0;
};

// Pointers are not owned and must outlive the object. Not thread-safe.
class StaticQuantizer {
 public:
  // Codes the weights and gathers the ranges of every value that may be quantized, in one forward
  // over `samples`. `model` is the float model with named nodes and the opset that its quantized
  // form needs; it is not changed. `histograms`: needed for every rule but minmax.
  static absl::StatusOr<std::unique_ptr<StaticQuantizer>> Make(
      Model& model, std::vector<QdqLayer> layers, const StaticQuantization& options,
      bool histograms, const Samples& samples, WeightArena& arena, const JobContext& context,
      const GatherProgress& progress);

  // Chooses all ranges by this rule (exceptions apart), and codes anew what depends on them. To be
  // called again after biases of the float model were changed.
  absl::Status UseRanges(const RangeRule& rule);

  // The model with these layers in integers.
  absl::StatusOr<Model> Build(const std::vector<bool>& active) const;

  const std::vector<StaticLayer>& layers() const { return layers_; }
  std::vector<bool> AllUsable() const;

 private:
  StaticQuantizer(Model& model, const StaticQuantization& options, WeightArena& arena,
                  const JobContext& context)
      : model_(model), options_(options), arena_(arena), context_(context) {}

  absl::Status CodeWeights();
  absl::Status Calibrate(bool histograms, const Samples& samples, const GatherProgress& progress);
  absl::Status FitBiases();
  ValueRange RangeFor(const ValueKey& key, const ValueStatistics& statistics,
                      const RangeRule& rule) const;
  void Describe();
  std::vector<QdqLayer> PlainLayers() const;

  Model& model_;
  StaticQuantization options_;
  WeightArena& arena_;
  const JobContext& context_;
  std::vector<StaticLayer> layers_;
  // The codes before FitBiases.
  std::vector<std::optional<CodedMatrix>> plain_weights_;
  Statistics statistics_;
  std::map<ValueKey, ValueRange> ranges_;
  // For each layer, the value whose range is that of its first activation's grid.
  std::vector<ValueKey> input_grids_;
};

}  // namespace modelpress
