// equalize_layers: channels of neighbouring layers made equally large before a quantization with
// one scale per tensor.
//
//   x --> Conv (W1 [C, ..], b1) --> Relu --> Conv (W2 [.., C]) --> y
//   x --> Conv (t W1, t b1)     --> Relu --> Conv (W2 / t)     --> y      t_c = sqrt(r2_c / r1_c)
//
// Source: Nagel et al. 2019; formula and groups (residual streams, depthwise layers) are in
// core/quant/equalization.h and core/quant/channel_groups.h. Exact up to float rounding through
// everything that commutes with a positive factor. A Clip from 0 (ReLU6) does only where it does
// not cut: see EqualizeLayers.clips. BatchNormalization is folded first.
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/model/value_key.h"
#include "core/passes/pass.h"
#include "core/quant/batch_norm_folding.h"
#include "core/quant/equalization.h"
#include "core/quant/function_inlining.h"
#include "core/quant/weight_selection.h"
#include "core/statistics/calibration_samples.h"
#include "core/statistics/statistics.h"

namespace modelpress {
namespace {

// Reading the weights some dozen times; only for plans.
constexpr double kBytesPerSecond = 5e7;
// Calibration data never shows the largest value: a channel may fill the range below a bound up to
// this share.
constexpr double kBelowBound = 0.95;

class EqualizeLayersPass final : public Pass {
 public:
  std::string_view name() const override { return "equalize_layers"; }
  std::string_view summary() const override {
    return "channels of neighbouring layers made equally large (cross-layer equalization), for a "
           "quantization per tensor after it";
  }
  bool needs_float_weights() const override { return true; }
  absl::Status Validate(const PassStep&) const override { return absl::OkStatus(); }
  PassEstimate Estimate(const Model& model, const PassStep&) const override {
    const uint64_t bytes = WeightBytes(model);
    return {128 << 20, 2 * bytes + (1 << 20), 1 + static_cast<double>(bytes) / kBytesPerSecond};
  }
  absl::Status Apply(Model& model, const PassStep& step, PassContext& context,
                     PassReport& report) const override;
  std::vector<PassExample> examples() const override;
  std::vector<std::vector<PassStep>> tuning_candidates() const override {
    PassStep equalize, quantize;
    equalize.mutable_equalize_layers();
    quantize.mutable_quantize_static();
    return {{equalize, quantize}};
  }
};

// Largest |value| of each channel; of values >= 0 only the largest counts.
std::vector<double> Largest(const ChannelStatistics& channels) {
  std::vector<double> largest(channels.max.size());
  for (size_t c = 0; c < largest.size(); ++c) {
    largest[c] = std::max(std::abs(channels.min[c]), std::abs(channels.max[c]));
  }
  return largest;
}

// Ranges on the caller's calibration data of what the weights read and of what Clips cut.
class Calibration {
 public:
  static absl::StatusOr<std::vector<GroupRanges>> Gather(Model& model, const GraphIndex& index,
                                                         const ChannelGroups& found,
                                                         const EqualizeLayers& options,
                                                         PassContext& context) {
    std::vector<GroupRanges> ranges(found.groups.size());
    if (context.data == nullptr) return ranges;
    const GraphPaths paths(model.mutable_proto());
    const auto key = [&](onnx::GraphProto& scope, const std::string& value) {
      return paths.KeyOf(index, scope, value).value_or(ValueKey{"", value});
    };
    std::vector<StatisticRequest> requests;
    for (const ScaledWeight& weight : found.weights) {
      if (weight.input < 0) continue;
      requests.push_back({.key = key(*weight.graph, weight.value), .channel_axis = weight.axis});
    }
    for (const ChannelGroup& group : found.groups) {
      for (const CrossedClip& clip : group.clips) {
        requests.push_back(
            {.key = key(*clip.graph, clip.node->input(0)), .channel_axis = clip.axis});
      }
    }
    MP_ASSIGN_OR_RETURN(const auto samples,
                        OpenCalibrationSamples(model, context.data, options.max_samples(), 0,
                                               context.seed, *context.job));
    MP_ASSIGN_OR_RETURN(const Statistics statistics,
                        GatherStatistics(model, *samples, requests, *context.job, nullptr));
    const auto find = [&](onnx::GraphProto& scope, const std::string& value,
                          int64_t axis) -> const ChannelStatistics* {
      const ValueStatistics* found_value =
          statistics.FindRequest(StatisticRequest{.key = key(scope, value), .channel_axis = axis});
      if (found_value == nullptr || !found_value->channels.has_value()) return nullptr;
      return &*found_value->channels;
    };
    for (const ScaledWeight& weight : found.weights) {
      if (weight.input < 0) continue;
      std::vector<double>& value = ranges[weight.input].value;
      const ChannelStatistics* seen = find(*weight.graph, weight.value, weight.axis);
      if (seen == nullptr || seen->max.size() != found.groups[weight.input].channels) continue;
      const std::vector<double> largest = Largest(*seen);
      if (value.empty()) value.resize(largest.size());
      for (size_t c = 0; c < largest.size(); ++c) value[c] = std::max(value[c], largest[c]);
    }
    for (size_t g = 0; g < found.groups.size(); ++g) {
      const ChannelGroup& group = found.groups[g];
      if (group.clips.empty() || options.clips() == EqualizeLayers::CLIPS_EXACT) continue;
      ranges[g].highest.assign(group.channels, std::numeric_limits<double>::infinity());
      ranges[g].pinned.assign(group.channels, false);
      for (const CrossedClip& clip : group.clips) {
        const ChannelStatistics* seen = find(*clip.graph, clip.node->input(0), clip.axis);
        for (size_t c = 0; c < group.channels; ++c) {
          const bool known = seen != nullptr && seen->max.size() == group.channels;
          const double top = known ? seen->max[c] : clip.high;
          if (top >= clip.high) {
            ranges[g].pinned[c] = true;
          } else if (top > 0) {
            ranges[g].highest[c] =
                std::min(ranges[g].highest[c], std::max(1.0, kBelowBound * clip.high / top));
          }
        }
      }
    }
    return ranges;
  }
};

// Clip(0, high) --> Relu --> Min (high t_c). Every other reading of the value stays.
absl::Status SplitClips(Model& model, const ChannelGroups& found,
                        const std::vector<EqualizedGroup>& solved) {
  UniqueNames names(model.proto());
  for (size_t g = 0; g < found.groups.size(); ++g) {
    if (!solved[g].changed) continue;
    for (const CrossedClip& clip : found.groups[g].clips) {
      std::vector<float> bounds;
      for (const double factor : solved[g].factors) {
        bounds.push_back(static_cast<float>(clip.high * factor));
      }
      std::vector<int64_t> dims(-clip.axis, 1);
      dims[0] = static_cast<int64_t>(bounds.size());
      const std::string output = clip.node->output(0);
      onnx::TensorProto* tensor = clip.graph->add_initializer();
      const std::string bound = names.Make(output + "_bound");
      tensor->set_name(bound);
      MP_RETURN_IF_ERROR(
          model.SetInline(tensor, DataType::kFloat, dims, std::as_bytes(std::span(bounds))));
      const std::string positive = names.Make(output + "_relu");
      clip.node->set_op_type("Relu");
      clip.node->clear_attribute();
      clip.node->mutable_input()->DeleteSubrange(1, clip.node->input_size() - 1);
      clip.node->set_output(0, positive);
      onnx::NodeProto& min = *clip.graph->add_node();
      min.set_op_type("Min");
      min.set_name(names.Make(output + "_Min"));
      min.add_input(positive);
      min.add_input(bound);
      min.add_output(output);
    }
  }
  return SortTopologically(model.mutable_proto());
}

absl::Status EqualizeLayersPass::Apply(Model& model, const PassStep& step, PassContext& context,
                                       PassReport& report) const {
  const EqualizeLayers& options = step.equalize_layers();
  InlineFunctions(model, report.mutable_notes());
  MP_ASSIGN_OR_RETURN(const BatchNormFolding folding,
                      FoldBatchNorms(model, *context.arena, *context.job));
  if (!folding.changes.empty()) {
    *report.add_notes() =
        FormatString("{} BatchNormalization nodes were folded first", folding.changes.size());
  }
  const bool exact = options.clips() == EqualizeLayers::CLIPS_EXACT;
  if (options.clips() == EqualizeLayers::CLIPS_PROVED && context.data == nullptr) {
    return Error(ERROR_REASON_DATA_MISSING,
                 "equalize_layers.clips is proved: that a Clip does not cut is seen on calibration "
                 "data, and there is none")
        .Remedy("give data, or clips: exact");
  }
  const bool cross =
      exact || (options.clips() != EqualizeLayers::CLIPS_STOP && context.data != nullptr);
  const GraphIndex index(model.mutable_proto());
  const ChannelGroups found = FindChannelGroups(model, index, cross);
  for (const ChannelGroups::Fixed& fixed : found.fixed) {
    *report.add_skips() =
        MakeSkip(SkipReason::kCannotBeScaled, fixed.value, fixed.node, fixed.reason);
  }
  MP_ASSIGN_OR_RETURN(const std::vector<GroupRanges> ranges,
                      Calibration::Gather(model, index, found, options, context));
  MP_ASSIGN_OR_RETURN(const std::vector<EqualizedGroup> solved,
                      SolveEqualization(model, found, ranges, *context.job));
  std::vector<std::vector<double>> factors(found.groups.size());
  int clips = 0;
  for (size_t g = 0; g < found.groups.size(); ++g) {
    const ChannelGroup& group = found.groups[g];
    if (!solved[g].changed) {
      *report.add_skips() = MakeSkip(
          SkipReason::kNothingGained, group.name, "",
          FormatString(
              "its {} channels lose {:.2f} bits to the largest one, and would still lose as "
              "much",
              group.channels, solved[g].bits_before));
      continue;
    }
    factors[g] = solved[g].factors;
    clips += static_cast<int>(group.clips.size());
    Change& change = *report.add_changes();
    change.set_tensor(group.name);
    const auto [low, high] = std::ranges::minmax(factors[g]);
    change.set_what(FormatString(
        "{} channels of {} values scaled by {:.3g} to {:.3g}: the average channel loses {:.2f} "
        "bits "
        "to the largest one, {:.2f} before",
        group.channels, group.values, low, high, solved[g].bits_after, solved[g].bits_before));
  }
  MP_RETURN_IF_ERROR(ApplyFactors(model, found, factors, *context.arena, *context.job));
  if (clips > 0) {
    *report.add_notes() =
        exact
            ? FormatString("{} Clips became a Relu and a Min with a bound for each channel", clips)
            : FormatString(
                  "{} Clips were crossed: approximate, by channels that stay below the "
                  "bound on calibration data",
                  clips);
  }
  if (exact && clips > 0) MP_RETURN_IF_ERROR(SplitClips(model, found, solved));
  RemoveDead(model.mutable_proto());
  return absl::OkStatus();
}

std::vector<PassExample> EqualizeLayersPass::examples() const {
  return {
      {"two convolutions around a Relu",
       R"(<ir_version: 8, opset_import: ["" : 13]>
          g (float[1, 1, 4, 4] x) => (float[1, 1, 4, 4] y)
          <float[2, 1, 1, 1] w = {0.5, -20}, float[2] b = {0.1, 1}, float[1, 2, 1, 1] v = {3, 0.2}>
          { h = Conv(x, w, b)
            r = Relu(h)
            y = Conv(r, v) })",
       "equalize_layers: {}",
       {"Conv", "Relu", "Conv"},
       1e-4},
      {"a residual stream is one group, and a depthwise convolution stands between two",
       R"(<ir_version: 8, opset_import: ["" : 13]>
          g (float[1, 1, 4, 4] x) => (float[1, 1, 4, 4] y)
          <float[2, 1, 1, 1] w = {0.5, -20}, float[2, 1, 1, 1] d = {3, 0.2}, float[2] b = {0.1, 1},
           float[2, 2, 1, 1] u = {3, 0.2, -1, 0.3}, float[1, 2, 1, 1] v = {3, 0.2}>
          { h = Conv(x, w)
            p = Conv <group = 2> (h, d, b)
            q = Relu(p)
            r = Conv(q, u)
            s = Add(h, r)
            y = Conv(s, v) })",
       "equalize_layers: {}",
       {"Conv", "Conv", "Relu", "Conv", "Add", "Conv"},
       1e-3},
      {"exactly through ReLU6",
       R"(<ir_version: 8, opset_import: ["" : 13]>
          g (float[1, 1, 4, 4] x) => (float[1, 1, 4, 4] y)
          <float[2, 1, 1, 1] w = {0.5, -20}, float[2] b = {0.1, 1}, float[1, 2, 1, 1] v = {3, 0.2},
           float low = {0}, float high = {6}>
          { h = Conv(x, w, b)
            r = Clip(h, low, high)
            y = Conv(r, v) })",
       "equalize_layers: {clips: exact}",
       {"Conv", "Relu", "Min", "Conv"},
       1e-4},
  };
}

}  // namespace

void RegisterPass_equalize_layers(PassRegistry& registry) {
  registry.Add(std::make_unique<EqualizeLayersPass>());
}

}  // namespace modelpress
