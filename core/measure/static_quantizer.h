// Building quantized versions of one float model: calibrated once, then any subset of its layers
// with any choice of ranges.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/data/samples.h"
#include "core/measure/bias_correction.h"
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
  // Weights of layers whose activations were not observed are stored in codes.
  bool code_unobserved = true;
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
  // The rule by which that range was chosen.
  RangeRule rule;
  // Bits between the largest bias code and the end of 32 bits; absent without an integer bias.
  std::optional<double> bias_headroom_bits;
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
  // form needs; it is not changed. `histograms`: needed for every rule but minmax, and for what
  // StaticLayer says of activations.
  static absl::StatusOr<std::unique_ptr<StaticQuantizer>> Make(
      Model& model, std::vector<QdqLayer> layers, const StaticQuantization& options,
      bool histograms, const Samples& samples, WeightArena& arena, const JobContext& context,
      const GatherProgress& progress);

  // Chooses all ranges by this rule (exceptions apart), and codes anew what depends on them.
  absl::Status UseRanges(const RangeRule& rule);
  // Chooses each range by the one of these rules under which the layers that read it make the least
  // error: errors[r][i] is the relative error of layer i under rule r (negative: not known).
  // Ranges that no layer reads are chosen by the least squared error.
  absl::Status UseBestRanges(const std::vector<RangeRule>& rules,
                             const std::vector<std::vector<double>>& errors);

  // Shifts of biases that layers in integers get (see bias_correction.h); by node name.
  void SetCorrections(std::vector<BiasCorrection> corrections) {
    corrections_ = std::move(corrections);
  }

  // The model with its layers in these forms.
  absl::StatusOr<Model> Build(const std::vector<LayerForm>& forms) const;

  const std::vector<StaticLayer>& layers() const { return layers_; }
  // Of the values whose range the grid of layer `i`'s first activation covers; null if it was not
  // gathered.
  const Histogram* InputHistogram(size_t i) const;
  // All layers in integers that can be; of the others the weights in codes, if the options say so.
  std::vector<LayerForm> AllInteger() const;

 private:
  StaticQuantizer(Model& model, const StaticQuantization& options, WeightArena& arena,
                  const JobContext& context)
      : model_(model), options_(options), arena_(arena), context_(context) {}

  absl::Status CodeWeights();
  absl::Status Calibrate(bool histograms, const Samples& samples, const GatherProgress& progress);
  absl::Status FitBiases();
  absl::Status Finish(const std::map<ValueKey, RangeRule>& rules);
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
  std::vector<BiasCorrection> corrections_;
  Statistics statistics_;
  std::map<ValueKey, ValueRange> ranges_;
  // For each layer, the values whose ranges its activations' grids cover.
  std::vector<std::vector<ValueKey>> input_grids_;
  // Values whose codes are those of their input on another grid: their range is [0, 1].
  std::set<ValueKey> unit_;
  // Where readers saturate.
  std::map<ValueKey, ValueRange> useful_;
};

}  // namespace modelpress
