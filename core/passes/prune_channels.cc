// prune_channels: whole channels, neurons and attention heads go, and what reads them is refitted.
//
//   x --> Conv (W1 [64, ..], b1) --> Relu --> Conv (W2 [.., 64], b2) --> y
//   x --> Conv (W1 [40, ..], b1) --> Relu --> Conv (W2' [.., 40], b2') --> y'
//
// Groups of channels that can only go together are those of core/channels/dependency_groups.h. With
// data, W2' and b2' are the least squares of y' against y with a ridge (core/channels/ridge.h);
// without, W2' is a part of W2. Sources: Li et al. 2017, "Pruning filters for efficient ConvNets"
// (norms); He et al. 2017, "Channel pruning for accelerating very deep neural networks" (least
// squares of the reader); Fang et al. 2023, "DepGraph" (groups).
#include <algorithm>
#include <memory>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/channels/importance.h"
#include "core/channels/joined_samples.h"
#include "core/channels/narrow_model.h"
#include "core/passes/pass.h"
#include "core/quant/weight_selection.h"
#include "core/runtime/session.h"
#include "core/statistics/calibration_samples.h"

namespace modelpress {
namespace {

constexpr uint64_t kDefaultSamples = 4096;
// Samples of a feed at most, as long as there are feeds enough to hold some back.
constexpr uint64_t kJoined = 64, kLeastFeeds = 40;
// Reading and writing weights; what refitting takes depends on the data and is not known before.
constexpr double kBytesPerSecond = 2e7;

class PruneChannelsPass final : public Pass {
 public:
  std::string_view name() const override { return "prune_channels"; }
  std::string_view summary() const override {
    return "whole channels, neurons and attention heads removed and their readers refitted: fewer "
           "parameters and multiply-accumulates";
  }
  bool needs_float_weights() const override { return true; }
  absl::Status Validate(const PassStep& step) const override;
  PassEstimate Estimate(const Model& model, const PassStep&) const override {
    const uint64_t bytes = WeightBytes(model);
    return {(256 << 20) + bytes, 8 * bytes + (1 << 20),
            1 + static_cast<double>(bytes) / kBytesPerSecond};
  }
  absl::Status Apply(Model& model, const PassStep& step, PassContext& context,
                     PassReport& report) const override;
  std::vector<PassExample> examples() const override;
};

absl::Status PruneChannelsPass::Validate(const PassStep& step) const {
  const PruneChannels& options = step.prune_channels();
  const auto refuse = [](std::string_view field, std::string_view rule) {
    const std::string path = FormatString("prune_channels.{}", field);
    return Error(ERROR_REASON_RECIPE_INVALID, FormatString("{} {}", path, rule))
        .With("field", path);
  };
  const auto share = [](double s) { return s > 0 && s < 1; };
  switch (options.target_case()) {
    case PruneChannels::kSparsity:
      if (!share(options.sparsity())) return refuse("sparsity", "must lie between 0 and 1");
      break;
    case PruneChannels::kMaxMacs:
      if (!share(options.max_macs())) return refuse("max_macs", "must lie between 0 and 1");
      break;
    case PruneChannels::TARGET_NOT_SET:
      return refuse("sparsity", "or max_macs must be given");
  }
  return absl::OkStatus();
}

// Of the split that has most: a fit of this many numbers needs them.
absl::StatusOr<std::unique_ptr<Samples>> OpenSamples(const Model& model, const DataSet& data,
                                                     uint64_t max_samples,
                                                     const JobContext& context) {
  const std::vector<ValueInfo> inputs = DeclaredInputs(model);
  std::unique_ptr<Samples> samples;
  // Whether samples may be fed together, along axis 0.
  bool joins = false;
  const auto open = [&](const char* split,
                        const std::vector<std::string>& fallbacks) -> absl::Status {
    MP_ASSIGN_OR_RETURN(auto opened, data.Split(split, fallbacks, inputs, /*batch_size=*/1, 0));
    if (samples != nullptr && opened->size() <= samples->size()) return absl::OkStatus();
    MP_ASSIGN_OR_RETURN(const auto together, data.Split(split, fallbacks, inputs, kJoined, 0));
    joins = opened->batches() == opened->size() && together->batches() < opened->batches();
    samples = std::move(opened);
    return absl::OkStatus();
  };
  for (const char* split : {"calib", "unlabeled", "train"}) {
    if (data.HasSplit(split)) MP_RETURN_IF_ERROR(open(split, {}));
  }
  if (samples == nullptr) MP_RETURN_IF_ERROR(open("val", {"test"}));
  if (samples->size() == 0) {
    return Error(ERROR_REASON_DATA_INVALID, "the data set holds no samples to calibrate on")
        .With("expected", "samples");
  }
  MP_ASSIGN_OR_RETURN(samples, InContentOrder(std::move(samples), max_samples, context));
  const uint64_t each = std::min(kJoined, samples->batches() / kLeastFeeds);
  if (each > 1 && joins) samples = JoinSamples(std::move(samples), each);
  return samples;
}

absl::Status PruneChannelsPass::Apply(Model& model, const PassStep& step, PassContext& context,
                                      PassReport& report) const {
  const PruneChannels& options = step.prune_channels();
  if (context.data == nullptr && options.importance() >= PruneChannels::IMPORTANCE_ENERGY) {
    return Error(ERROR_REASON_DATA_MISSING,
                 "prune_channels.importance is measured on calibration data, and there is none")
        .With("needed", "calib")
        .Remedy("give data, or importance: l2");
  }
  NarrowOptions narrow;
  if (options.has_sparsity()) narrow.width = 1 - options.sparsity();
  if (options.has_max_macs()) narrow.macs = options.max_macs();
  narrow.importance = ImportanceOf(options.importance());
  narrow.min_channels = std::max<uint64_t>(1, options.min_channels());
  narrow.multiple = options.multiple();
  narrow.keep.assign(options.keep().begin(), options.keep().end());
  narrow.refit = !options.has_refit() || options.refit();
  std::unique_ptr<Samples> samples;
  if (context.data != nullptr) {
    const uint64_t most = options.max_samples() > 0 ? options.max_samples() : kDefaultSamples;
    MP_ASSIGN_OR_RETURN(samples, OpenSamples(model, *context.data, most, *context.job));
  }
  MP_ASSIGN_OR_RETURN(
      NarrowedModel narrowed,
      NarrowModel(model, samples.get(), narrow, *context.arena, *context.job, context.progress));
  for (Change& change : narrowed.changes) *report.add_changes() = std::move(change);
  for (Skip& skip : narrowed.skips) *report.add_skips() = std::move(skip);
  for (std::string& note : narrowed.notes) *report.add_notes() = std::move(note);
  model = std::move(narrowed.model);
  return absl::OkStatus();
}

std::vector<PassExample> PruneChannelsPass::examples() const {
  return {
      {"of two neurons the one that makes nothing goes",
       R"(<ir_version: 8, opset_import: ["" : 13]>
          g (float[2, 3] x) => (float[2, 2] y)
          <float[2, 3] w = {0, 0, 0, 1, -2, 0.5}, float[2] b = {0, 0.5},
           float[2, 2] v = {3, 0.2, -1, 0.3}>
          { h = Gemm <transB = 1> (x, w, b)
            r = Relu(h)
            y = Gemm <transB = 1> (r, v) })",
       "prune_channels: {sparsity: 0.5}",
       {"Gemm", "Relu", "Gemm"},
       1e-6},
      {"a depthwise convolution and both summands of a residual stream lose the same channels",
       R"(<ir_version: 8, opset_import: ["" : 13]>
          g (float[1, 1, 4, 4] x) => (float[1, 1, 4, 4] y)
          <float[4, 1, 1, 1] w = {0.5, 0, -20, 0}, float[4, 1, 1, 1] d = {3, 0, 0.2, 0},
           float[4, 4, 1, 1] u = {3, 0.2, -1, 0.3, 0, 0, 0, 0, 1, 0.3, 0.2, 1, 0, 0, 0, 0},
           float[1, 4, 1, 1] v = {3, 0.2, 1, 1}>
          { h = Conv(x, w)
            p = Conv <group = 4> (h, d)
            q = Relu(p)
            r = Conv(q, u)
            s = Add(h, r)
            y = Conv(s, v) })",
       "prune_channels: {max_macs: 0.6}",
       {"Conv", "Conv", "Relu", "Conv", "Add", "Conv"},
       1e-6},
      {"channels before Concat and Flatten, at their offsets and in blocks",
       R"(<ir_version: 8, opset_import: ["" : 13]>
          g (float[1, 1, 2, 2] x) => (float[1, 2] y)
          <float[2, 1, 1, 1] w = {0.5, 0}, float[2, 1, 1, 1] u = {0, 2},
           float[2, 16] v = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
                             1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2}>
          { a = Conv(x, w)
            b = Conv(x, u)
            c = Concat <axis = 1> (a, b)
            f = Flatten(c)
            y = Gemm <transB = 1> (f, v) })",
       "prune_channels: {sparsity: 0.5}",
       {"Conv", "Conv", "Concat", "Flatten", "Gemm"},
       1e-5},
  };
}

}  // namespace

void RegisterPass_prune_channels(PassRegistry& registry) {
  registry.Add(std::make_unique<PruneChannelsPass>());
}

}  // namespace modelpress
