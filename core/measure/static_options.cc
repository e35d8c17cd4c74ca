// The options of quantize_static: see static_options.h.
#include "core/measure/static_options.h"

#include <algorithm>
#include <cmath>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/measure/loss_limits.h"

namespace modelpress {
namespace {

constexpr double kDefaultPercentile = 99.999;

RangeRule RuleOf(QuantizeStatic::Range range, double percentile) {
  switch (range) {
    case QuantizeStatic::RANGE_PERCENTILE:
      return {.method = RangeMethod::kPercentile, .percentile = percentile};
    case QuantizeStatic::RANGE_ENTROPY:
      return {.method = RangeMethod::kEntropy};
    case QuantizeStatic::RANGE_MSE:
      return {.method = RangeMethod::kMse};
    default:
      return {.method = RangeMethod::kMinMax};
  }
}

absl::Status Invalid(std::string_view field, std::string_view problem) {
  const std::string path = FormatString("quantize_static.{}", field);
  return Error(ERROR_REASON_RECIPE_INVALID, FormatString("{} {}", path, problem))
      .With("field", path);
}

}  // namespace

bool Is16Bit(QuantizeStatic::Type type) {
  return type == QuantizeStatic::TYPE_INT16 || type == QuantizeStatic::TYPE_UINT16;
}

absl::Status ValidateStaticOptions(const QuantizeStatic& options) {
  const auto valid_percentile = [](double p) { return p > 50 && p <= 100; };
  if (options.has_percentile() && !valid_percentile(options.percentile())) {
    return Invalid("percentile", "must be above 50 and at most 100");
  }
  if (Is16Bit(options.weight_type())) return Invalid("weight_type", "must be int8 or uint8");
  const bool signed_activations = options.activation_type() == QuantizeStatic::TYPE_INT8 ||
                                  options.target() == QuantizeStatic::TARGET_ARM64 ||
                                  options.target() == QuantizeStatic::TARGET_TENSORRT;
  if (signed_activations && options.weight_type() == QuantizeStatic::TYPE_UINT8) {
    return Invalid("weight_type", "must be int8 where activations are int8: no kernel takes uint8");
  }
  if (options.granularity() != QuantizeWeights::GRANULARITY_UNSPECIFIED &&
      options.granularity() != QuantizeWeights::GRANULARITY_PER_CHANNEL &&
      options.granularity() != QuantizeWeights::GRANULARITY_PER_TENSOR) {
    return Invalid("granularity", "must be per_channel or per_tensor");
  }
  for (int i = 0; i < options.ranges_size(); ++i) {
    const QuantizeStatic::RangeRule& rule = options.ranges(i);
    const std::string field = FormatString("ranges[{}]", i);
    if (rule.match().empty()) return Invalid(field + ".match", "is missing");
    if (rule.has_min() != rule.has_max()) return Invalid(field, "needs both min and max");
    if (rule.has_min() && !(rule.min() <= 0 && rule.max() >= 0 && rule.max() > rule.min() &&
                            std::isfinite(rule.max() - rule.min()))) {
      return Invalid(field, "must have min <= 0 <= max, finite and not both 0");
    }
    if (rule.has_percentile() && !valid_percentile(rule.percentile())) {
      return Invalid(field + ".percentile", "must be above 50 and at most 100");
    }
  }
  MP_RETURN_IF_ERROR(ValidateLimits(options.limits(), "quantize_static.limits"));
  for (const std::string& type : options.op_types()) {
    if (type != "Conv" && type != "MatMul" && type != "Gemm") {
      return Invalid("op_types",
                     FormatString("has \"{}\"; the runtime has integer kernels of Conv, MatMul and "
                                  "Gemm (others follow by themselves)",
                                  type));
    }
  }
  return absl::OkStatus();
}

StaticQuantization QuantizationOf(const QuantizeStatic& options) {
  StaticQuantization result;
  ActivationRule& activations = result.rewrite.activations;
  switch (options.target()) {
    case QuantizeStatic::TARGET_CPU_AVX2:
      result.weights.reduced = true;
      break;
    case QuantizeStatic::TARGET_ARM64:
      activations.type = DataType::kInt8;
      break;
    case QuantizeStatic::TARGET_TENSORRT:
      activations = {.type = DataType::kInt8, .symmetric = true};
      result.rewrite.integer_bias = false;
      result.rewrite.quantize_outputs = false;
      result.rewrite.pair_for_each_reader = true;
      break;
    default:
      break;
  }
  switch (options.activation_type()) {
    case QuantizeStatic::TYPE_INT8:
      activations.type = DataType::kInt8;
      break;
    case QuantizeStatic::TYPE_UINT8:
      activations.type = DataType::kUint8;
      break;
    case QuantizeStatic::TYPE_INT16:
      activations.type = DataType::kInt16;
      break;
    case QuantizeStatic::TYPE_UINT16:
      activations.type = DataType::kUint16;
      break;
    default:
      break;
  }
  if (options.has_symmetric_activations()) activations.symmetric = options.symmetric_activations();
  if (options.weight_type() == QuantizeStatic::TYPE_UINT8) {
    result.weights.type = CodeType::kUint8;
    result.weights.symmetric = false;
  }
  if (options.has_reduce_range()) result.weights.reduced = options.reduce_range();
  result.per_channel = options.granularity() != QuantizeWeights::GRANULARITY_PER_TENSOR;
  result.code_unobserved = !options.has_other_weights() || options.other_weights();
  for (const QuantizeStatic::RangeRule& rule : options.ranges()) {
    RangeException exception;
    exception.match.assign(rule.match().begin(), rule.match().end());
    if (rule.has_min()) {
      exception.range = {static_cast<float>(rule.min()), static_cast<float>(rule.max()), true};
    } else {
      exception.rule =
          RuleOf(rule.range(), rule.has_percentile() ? rule.percentile() : kDefaultPercentile);
    }
    result.exceptions.push_back(std::move(exception));
  }
  return result;
}

std::vector<RangeRule> RangeRulesOf(const QuantizeStatic& options) {
  const double percentile = options.has_percentile() ? options.percentile() : kDefaultPercentile;
  if (options.range() != QuantizeStatic::RANGE_UNSPECIFIED) {
    return {RuleOf(options.range(), percentile)};
  }
  // Nothing to compare them by.
  if (options.limits().off()) return {RuleOf(QuantizeStatic::RANGE_MINMAX, percentile)};
  std::vector<RangeRule> rules = {RuleOf(QuantizeStatic::RANGE_MINMAX, percentile)};
  // The default is so near to minmax that it would only be measured twice.
  const std::vector<double> percentiles =
      options.has_percentile() ? std::vector{percentile} : std::vector{99.99, 99.9};
  for (const double p : percentiles) {
    rules.push_back(RuleOf(QuantizeStatic::RANGE_PERCENTILE, p));
  }
  rules.push_back(RuleOf(QuantizeStatic::RANGE_MSE, percentile));
  rules.push_back(RuleOf(QuantizeStatic::RANGE_ENTROPY, percentile));
  return rules;
}

}  // namespace modelpress
