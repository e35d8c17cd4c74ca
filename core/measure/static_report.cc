// Rows of reports; see static_report.h.
#include "core/measure/static_report.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "core/base/format_string.h"
#include "core/quant/skip.h"
#include "modelpress/v1/report.pb.h"

namespace modelpress {
namespace {

bool IsIntegerKernel(std::string_view type) {
  return type.contains("QLinear") || type.contains("QGemm") || type.contains("MatMulInteger");
}

const std::string& TensorOf(const QdqLayer& layer) {
  return layer.weight.has_value() ? layer.weight_name : layer.key.value;
}

std::string WeightText(const StaticLayer& entry) {
  return FormatString("weight {} {}", DataTypeName(entry.weight->type),
                      entry.weight->axis.has_value() ? "per channel" : "per tensor");
}

std::string What(const StaticLayer& entry, const ActivationRule& rule) {
  std::string text = FormatString("{}: activations {}{}", entry.layer.op_type,
                                  DataTypeName(rule.type), rule.symmetric ? " symmetric" : "");
  if (entry.weight.has_value()) text += ", " + WeightText(entry);
  return text;
}

void FillWeight(const StaticLayer& entry, v1::Change* change) {
  if (entry.weight_sqnr_db.has_value()) change->set_sqnr_db(*entry.weight_sqnr_db);
  if (!entry.weight.has_value()) return;
  // Codes of 8 bits of float32 values.
  change->set_bytes_before(entry.weight->codes.length * sizeof(float));
  change->set_bytes_after(entry.weight->codes.length +
                          entry.weight->parameters.size() * sizeof(float));
}

// dB of a relative error.
std::optional<double> Decibels(const std::vector<double>& errors, size_t i) {
  if (errors.empty() || errors[i] <= 0 || !std::isfinite(errors[i])) return std::nullopt;
  return -10 * std::log10(errors[i]);
}

// In 64 bins between the smallest and the largest value.
void FillHistogram(const Histogram& histogram, v1::ValueHistogram* result) {
  constexpr int kBins = 64;
  result->set_low(histogram.min());
  result->set_high(histogram.max());
  result->mutable_counts()->Resize(kBins, 0);
  const double range = static_cast<double>(histogram.max()) - histogram.min();
  for (int i = -Histogram::kSideBins; i < Histogram::kSideBins; ++i) {
    if (histogram.count(i) == 0) continue;
    const double middle = (i + 0.5) * histogram.width() - histogram.min();
    const int bin = range > 0 ? static_cast<int>(std::clamp(middle / range, 0.0, 1.0) * kBins) : 0;
    const int at = std::min(bin, kBins - 1);
    result->set_counts(at, result->counts(at) + histogram.count(i));
  }
}

void FillGrid(const StaticLayer& entry, const std::vector<double>& own, size_t i, bool is_integer,
              v1::ActivationGrid* grid) {
  grid->set_min(entry.range.min);
  grid->set_max(entry.range.max);
  grid->set_clipped_share(entry.clipped_share);
  if (entry.activation_sqnr_db.has_value()) grid->set_sqnr_db(*entry.activation_sqnr_db);
  grid->set_macs(entry.macs);
  grid->set_saturating_pairs(entry.saturating_pairs);
  grid->set_raised_channels(entry.raised_channels);
  grid->set_range_rule(NameOf(entry.rule));
  if (entry.bias_headroom_bits.has_value()) {
    grid->set_bias_headroom_bits(*entry.bias_headroom_bits);
  }
  if (const auto db = Decibels(own, i)) grid->set_layer_sqnr_db(*db);
  grid->set_integer_kernel(is_integer);
}

}  // namespace

std::string NameOf(const RangeRule& rule) {
  switch (rule.method) {
    case RangeMethod::kMinMax:
      return "minmax";
    case RangeMethod::kPercentile:
      return FormatString("percentile {}", rule.percentile);
    case RangeMethod::kEntropy:
      return "entropy";
    case RangeMethod::kMse:
      return "mse";
  }
  return "";
}

void ReportStaticLayers(const StaticQuantizer& quantizer, const StaticQuantization& options,
                        const StaticFindings& findings, const OptimizedGraph& optimized,
                        v1::PassReport* report) {
  double integer = 0, all = 0;
  std::set<std::string> stored;
  for (size_t i = 0; i < quantizer.layers().size(); ++i) {
    const StaticLayer& entry = quantizer.layers()[i];
    const QdqLayer& layer = entry.layer;
    all += entry.macs;
    if (!entry.problem.empty()) {
      *report->add_skips() =
          MakeSkip(SkipReason::kNotObserved, TensorOf(layer), layer.node, entry.problem);
    }
    const auto alone = Decibels(findings.noise, i);
    if (findings.forms[i] != LayerForm::kInteger) {
      if (entry.problem.empty()) {
        *report->add_skips() = MakeSkip(
            SkipReason::kLossTooLarge, TensorOf(layer), layer.node,
            FormatString("in integers it would cost more than the limits allow{}",
                         alone.has_value() ? FormatString(": {:.1f} dB by itself", *alone) : ""));
      }
      if (findings.forms[i] == LayerForm::kFloat || !stored.insert(layer.weight_name).second)
        continue;
      v1::Change& change = *report->add_changes();
      change.set_tensor(layer.weight_name);
      change.set_node(layer.node);
      change.set_what("only stored in codes, computed in float: " + WeightText(entry));
      FillWeight(entry, &change);
      continue;
    }
    v1::Change& change = *report->add_changes();
    change.set_tensor(TensorOf(layer));
    change.set_node(layer.node);
    change.set_what(What(entry, options.rewrite.activations));
    FillWeight(entry, &change);
    if (alone.has_value()) change.set_model_sqnr_db(*alone);
    const auto kernel = optimized.nodes.find(layer.node);
    const bool is_integer = kernel != optimized.nodes.end() && IsIntegerKernel(kernel->second);
    FillGrid(entry, findings.own, i, is_integer, change.mutable_activations());
    if (const Histogram* histogram = quantizer.InputHistogram(i)) {
      FillHistogram(*histogram, change.mutable_activations()->mutable_histogram());
    }
    if (is_integer) integer += entry.macs;
    if (!layer.has_bias || !options.rewrite.integer_bias) continue;
    v1::Change& bias = *report->add_changes();
    bias.set_tensor(layer.bias_name);
    bias.set_node(layer.node);
    bias.set_what("bias as int32");
  }
  if (all > 0) report->set_integer_mac_share(integer / all);
}

}  // namespace modelpress
