// Building quantized versions of a float model; see static_quantizer.h.
#include "core/measure/static_quantizer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>

#include "absl/container/flat_hash_map.h"
#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/quant/qdq_flow.h"
#include "core/quant/quantize_tensor.h"
#include "core/quant/useful_range.h"
#include "core/quant/weight_selection.h"

namespace modelpress {
namespace {

double Product(std::span<const int64_t> extents) {
  double product = 1;
  for (const int64_t extent : extents) product *= static_cast<double>(extent);
  return product;
}

// Multiply-accumulates of a layer from the extents of what it reads and gives.
double MacsOf(const QdqLayer& layer, const onnx::NodeProto& node, std::span<const int64_t> input,
              std::span<const int64_t> other, std::span<const int64_t> output,
              std::span<const int64_t> weight) {
  if (layer.op_type == "Conv") {
    if (weight.size() < 2 || output.empty()) return 0;
    return Product(output) * Product(weight.subspan(1));
  }
  const std::span<const int64_t> b = layer.weight == 1 ? weight : other;
  if (layer.weight == 0 && input.size() >= 2 && weight.size() >= 2) {
    return Product(input) * static_cast<double>(weight[weight.size() - 2]);
  }
  if (input.empty() || b.empty()) return 0;
  const bool transposed = layer.op_type == "Gemm" && IntAttribute(node, "transB", 0) != 0;
  const int64_t columns = transposed ? b[0] : b.back();
  return Product(input) * static_cast<double>(columns);
}

// Share of neighbouring pairs of int8 weights of one channel that can leave 16 bits.
double SaturatingPairs(const CodedMatrix& coded, const ChannelLayout& layout, int largest) {
  const auto codes = coded.codes.bytes();
  uint64_t pairs = 0, saturating = 0;
  const uint64_t depth = layout.outer * layout.inner;
  const auto code = [&](uint64_t channel, uint64_t k) {
    const uint64_t at =
        ((k / layout.inner) * layout.channels + channel) * layout.inner + k % layout.inner;
    return static_cast<int>(static_cast<int8_t>(codes[at]));
  };
  for (uint64_t c = 0; c < layout.channels; ++c) {
    for (uint64_t k = 0; k + 1 < depth; k += 2) {
      const int a = code(c, k), b = code(c, k + 1);
      const int high = largest * (std::max(a, 0) + std::max(b, 0));
      const int low = largest * (std::min(a, 0) + std::min(b, 0));
      ++pairs;
      if (high > 32767 || low < -32768) ++saturating;
    }
  }
  return pairs > 0 ? static_cast<double>(saturating) / static_cast<double>(pairs) : 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<StaticQuantizer>> StaticQuantizer::Make(
    Model& model, std::vector<QdqLayer> layers, const StaticQuantization& options, bool histograms,
    const Samples& samples, WeightArena& arena, const JobContext& context,
    const GatherProgress& progress) {
  std::unique_ptr<StaticQuantizer> result(new StaticQuantizer(model, options, arena, context));
  for (QdqLayer& layer : layers) {
    if (!options.rewrite.quantize_outputs) layer.quantizes_output = false;
    result->layers_.push_back({.layer = std::move(layer)});
  }
  MP_RETURN_IF_ERROR(result->CodeWeights());
  MP_RETURN_IF_ERROR(result->Calibrate(histograms, samples, progress));
  return result;
}

std::vector<QdqLayer> StaticQuantizer::PlainLayers() const {
  std::vector<QdqLayer> plain;
  for (const StaticLayer& entry : layers_) plain.push_back(entry.layer);
  return plain;
}

absl::Status StaticQuantizer::CodeWeights() {
  const GraphIndex index(model_.mutable_proto());
  const std::vector<QdqLayer> plain = PlainLayers();
  const QdqFlow flow(model_, index, plain, std::vector<bool>(plain.size(), false), false);
  struct Coded {
    std::optional<CodedMatrix> matrix;
    std::optional<double> sqnr_db;
  };
  // Shared weights are coded once.
  std::map<std::pair<const onnx::TensorProto*, std::optional<size_t>>, Coded> done;
  for (StaticLayer& entry : layers_) {
    MP_RETURN_IF_ERROR(context_.cancellation->Check());
    if (!entry.layer.weight.has_value()) continue;
    const onnx::NodeProto& node = *flow.Node(entry.layer.key);
    const onnx::TensorProto* tensor =
        index.Constant(*flow.Graph(entry.layer.key.graph), node.input(*entry.layer.weight));
    std::optional<size_t> axis;
    if (options_.per_channel) axis = entry.layer.channel_axis;
    const auto [place, is_new] = done.try_emplace({tensor, axis});
    if (is_new) {
      MP_ASSIGN_OR_RETURN(const auto values, model_.Bytes(*tensor));
      const auto dims = Dims(*tensor);
      const uint64_t elements = values.size() / sizeof(float);
      const ChannelLayout layout = axis.has_value() ? LayoutOf(dims, *axis) : WholeTensor(elements);
      MP_ASSIGN_OR_RETURN(WeightArena::Room room, arena_.Allocate(elements));
      MP_ASSIGN_OR_RETURN(QuantizedTensor codes,
                          QuantizeTensor(values, layout, options_.weights, kNoDeadZone, room.bytes,
                                         context_, nullptr));
      if (codes.finite && elements > 0) {
        place->second.matrix = CodedMatrix{
            .type = options_.weights.type == CodeType::kInt8 ? DataType::kInt8 : DataType::kUint8,
            .dims = {dims.begin(), dims.end()},
            .codes = std::move(room.weight),
            .parameters = std::move(codes.parameters),
            .axis = axis};
        if (codes.sums.noise > 0) {
          place->second.sqnr_db = 10 * std::log10(codes.sums.signal / codes.sums.noise);
        }
      }
    }
    entry.weight = place->second.matrix;
    entry.weight_sqnr_db = place->second.sqnr_db;
    if (!entry.weight.has_value()) entry.problem = "its weight holds NaN or infinity";
  }
  for (const StaticLayer& entry : layers_) plain_weights_.push_back(entry.weight);
  return absl::OkStatus();
}

absl::Status StaticQuantizer::Calibrate(bool histograms, const Samples& samples,
                                        const GatherProgress& progress) {
  const GraphIndex index(model_.mutable_proto());
  const std::vector<QdqLayer> plain = PlainLayers();
  const QdqFlow flow(model_, index, plain, IntegerLayers(AllInteger()),
                     options_.rewrite.activations.symmetric);
  useful_ = UsefulRanges(model_, index);
  std::set<ValueKey> wanted;
  for (const auto& [value, grid] : flow.stored()) {
    if (IsClippingToUnit(*flow.Node(value))) unit_.insert(grid);
    wanted.insert(value);
    wanted.insert(grid);
  }
  input_grids_.resize(plain.size());
  for (size_t i = 0; i < plain.size(); ++i) {
    for (const int input : plain[i].activations) {
      const QdqFlow::Reading reading = flow.Read(plain[i], input);
      wanted.insert(reading.value);
      wanted.insert(reading.grid);
      input_grids_[i].push_back(reading.grid);
    }
  }
  std::vector<StatisticRequest> requests;
  for (const ValueKey& key : wanted) requests.push_back({.key = key, .histogram = histograms});
  MP_ASSIGN_OR_RETURN(statistics_,
                      GatherStatistics(model_, samples, std::move(requests), context_, progress));
  std::map<ValueKey, std::string> reasons;
  for (const Unobserved& row : statistics_.unobserved()) reasons[row.key] = row.reason;
  const auto missing = [&](const ValueKey& key) {
    return statistics_.Find(key) != nullptr
               ? std::string()
               : FormatString("'{}' was not observed: {}", key.value, reasons[key]);
  };
  for (size_t i = 0; i < plain.size(); ++i) {
    StaticLayer& entry = layers_[i];
    std::vector<std::span<const int64_t>> dims;
    for (const int input : plain[i].activations) {
      const QdqFlow::Reading reading = flow.Read(plain[i], input);
      for (const ValueKey& key : {reading.value, reading.grid}) {
        if (entry.problem.empty()) entry.problem = missing(key);
      }
      const ValueStatistics* seen = statistics_.Find(reading.value);
      dims.push_back(seen != nullptr ? std::span<const int64_t>(seen->last_dims)
                                     : std::span<const int64_t>());
    }
    std::span<const int64_t> output;
    if (plain[i].quantizes_output) {
      const ValueKey key = flow.Output(plain[i]);
      if (entry.problem.empty()) entry.problem = missing(key);
      if (const ValueStatistics* seen = statistics_.Find(key)) output = seen->last_dims;
    }
    const std::span<const int64_t> weight = entry.weight.has_value()
                                                ? std::span<const int64_t>(entry.weight->dims)
                                                : std::span<const int64_t>();
    entry.macs = MacsOf(plain[i], *flow.Node(plain[i].key), dims[0],
                        dims.size() > 1 ? dims[1] : std::span<const int64_t>(), output, weight);
  }
  return absl::OkStatus();
}

ValueRange StaticQuantizer::RangeFor(const ValueKey& key, const ValueStatistics& statistics,
                                     const RangeRule& rule) const {
  if (unit_.contains(key)) return {0, 1, true};
  RangeRule chosen = rule;
  for (const RangeException& exception : options_.exceptions) {
    const bool matches = std::ranges::any_of(
        exception.match, [&](const std::string& glob) { return GlobMatches(glob, key.value); });
    if (!matches) continue;
    if (exception.range.has_value()) return *exception.range;
    if (exception.rule.has_value()) chosen = *exception.rule;
    break;
  }
  ValueRange useful = {-std::numeric_limits<float>::infinity(),
                       std::numeric_limits<float>::infinity()};
  if (const auto found = useful_.find(key); found != useful_.end()) useful = found->second;
  const ValueRange everything = {std::max(static_cast<float>(statistics.min), useful.min),
                                 std::min(static_cast<float>(statistics.max), useful.max), true};
  if (chosen.method == RangeMethod::kMinMax || !statistics.histogram.has_value()) return everything;
  const CodeLimits limits = options_.rewrite.activations.limits();
  chosen.symmetric = options_.rewrite.activations.symmetric;
  chosen.steps = limits.highest - limits.lowest;
  if (useful.min <= statistics.min && useful.max >= statistics.max) {
    return ChooseRange(*statistics.histogram, chosen);
  }
  return ChooseRange(statistics.histogram->Clamped(useful.min, useful.max), chosen);
}

absl::Status StaticQuantizer::UseRanges(const RangeRule& rule) {
  std::map<ValueKey, RangeRule> rules;
  statistics_.ForEach([&](const ValueKey& key, const ValueStatistics&) { rules[key] = rule; });
  return Finish(rules);
}

absl::Status StaticQuantizer::UseBestRanges(const std::vector<RangeRule>& rules,
                                            const std::vector<std::vector<double>>& errors) {
  std::map<ValueKey, std::vector<double>> sums;
  for (size_t i = 0; i < layers_.size(); ++i) {
    const bool known = std::ranges::all_of(errors, [&](const auto& row) { return row[i] >= 0; });
    if (!known) continue;
    for (const ValueKey& key : input_grids_[i]) {
      auto& sum = sums[key];
      sum.resize(rules.size());
      for (size_t r = 0; r < rules.size(); ++r) sum[r] += errors[r][i];
    }
  }
  std::map<ValueKey, RangeRule> chosen;
  statistics_.ForEach([&](const ValueKey& key, const ValueStatistics&) {
    RangeRule& rule = chosen[key] = {.method = RangeMethod::kMse};
    const auto found = sums.find(key);
    if (found == sums.end()) return;
    rule = rules[std::ranges::min_element(found->second) - found->second.begin()];
  });
  return Finish(chosen);
}

absl::Status StaticQuantizer::Finish(const std::map<ValueKey, RangeRule>& rules) {
  ranges_.clear();
  for (const auto& [key, rule] : rules) ranges_[key] = RangeFor(key, *statistics_.Find(key), rule);
  for (size_t i = 0; i < layers_.size(); ++i) {
    if (!layers_[i].problem.empty()) continue;
    layers_[i].rule = rules.at(input_grids_[i][0]);
  }
  MP_RETURN_IF_ERROR(FitBiases());
  Describe();
  return absl::OkStatus();
}

// Raises weight scales where a bias would leave 32 bits: |b| <= (2^31 - 1) scale_x scale_w, a hair
// above it (ONNX Runtime's rule).
absl::Status StaticQuantizer::FitBiases() {
  const GraphIndex index(model_.mutable_proto());
  const std::vector<QdqLayer> plain = PlainLayers();
  const QdqFlow flow(model_, index, plain, std::vector<bool>(plain.size(), false), false);
  const ActivationRule& activations = options_.rewrite.activations;
  for (size_t i = 0; i < layers_.size(); ++i) {
    StaticLayer& entry = layers_[i];
    entry.weight = plain_weights_[i];
    entry.raised_channels = 0;
    entry.bias_headroom_bits.reset();
    if (!entry.problem.empty() || !entry.layer.has_bias || !options_.rewrite.integer_bias) continue;
    const onnx::GraphProto& graph = *flow.Graph(entry.layer.key.graph);
    const onnx::NodeProto& node = *flow.Node(entry.layer.key);
    MP_ASSIGN_OR_RETURN(const auto bytes, model_.Bytes(*index.Constant(graph, node.input(2))));
    const AffineParameters x = ChooseParameters(ranges_.at(input_grids_[i][0]),
                                                activations.limits(), activations.symmetric);
    constexpr double kLargest = 2147483647.0, kHair = 1.0001;
    double largest_code = 1;
    for (size_t c = 0; c < bytes.size() / sizeof(float); ++c) {
      float bias;
      std::memcpy(&bias, bytes.data() + c * sizeof(float), sizeof(float));
      AffineParameters& p = entry.weight->parameters[entry.weight->axis.has_value() ? c : 0];
      const double needed = std::abs(static_cast<double>(bias)) / kLargest / x.scale * kHair;
      if (p.scale < needed) {
        p.scale = static_cast<float>(needed);
        ++entry.raised_channels;
      }
      largest_code =
          std::max(largest_code, std::abs(static_cast<double>(bias)) / x.scale / p.scale);
    }
    entry.bias_headroom_bits = std::log2(kLargest / largest_code);
    if (entry.raised_channels == 0) continue;
    const onnx::TensorProto& tensor = *index.Constant(graph, node.input(*entry.layer.weight));
    MP_ASSIGN_OR_RETURN(const auto values, model_.Bytes(tensor));
    CodedMatrix& coded = *entry.weight;
    const ChannelLayout layout = coded.axis.has_value()
                                     ? LayoutOf(coded.dims, *coded.axis)
                                     : WholeTensor(values.size() / sizeof(float));
    MP_ASSIGN_OR_RETURN(WeightArena::Room room, arena_.Allocate(coded.codes.length));
    MP_ASSIGN_OR_RETURN(const ErrorSums sums,
                        QuantizeTensorWith(values, layout, options_.weights, coded.parameters,
                                           room.bytes, context_));
    coded.codes = std::move(room.weight);
    if (sums.noise > 0) entry.weight_sqnr_db = 10 * std::log10(sums.signal / sums.noise);
  }
  return absl::OkStatus();
}

void StaticQuantizer::Describe() {
  const ActivationRule& activations = options_.rewrite.activations;
  const CodeLimits limits = activations.limits();
  for (size_t i = 0; i < layers_.size(); ++i) {
    StaticLayer& entry = layers_[i];
    if (!entry.problem.empty()) continue;
    const ValueStatistics& seen = *statistics_.Find(input_grids_[i][0]);
    entry.range = ranges_.at(input_grids_[i][0]);
    entry.clipped_share = 0;
    entry.activation_sqnr_db.reset();
    if (seen.histogram.has_value()) {
      const auto useful = useful_.find(input_grids_[i][0]);
      const Histogram histogram =
          useful == useful_.end() ? *seen.histogram
                                  : seen.histogram->Clamped(useful->second.min, useful->second.max);
      entry.clipped_share = ClippedShare(histogram, entry.range);
      const double sqnr = ExpectedSqnrDb(histogram, entry.range, limits.highest - limits.lowest);
      if (std::isfinite(sqnr)) entry.activation_sqnr_db = sqnr;
    }
    if (entry.weight.has_value() && entry.weight->type == DataType::kInt8 &&
        activations.type == DataType::kUint8) {
      const AffineParameters p = ChooseParameters(entry.range, limits, activations.symmetric);
      const double highest = std::nearbyint(std::min<double>(seen.max, entry.range.max) / p.scale);
      const int code = std::clamp(static_cast<int>(highest) + p.zero_point, 0, limits.highest);
      const ChannelLayout layout = entry.weight->axis.has_value()
                                       ? LayoutOf(entry.weight->dims, *entry.weight->axis)
                                       : WholeTensor(entry.weight->codes.length);
      entry.saturating_pairs = SaturatingPairs(*entry.weight, layout, code);
    }
  }
}

absl::StatusOr<Model> StaticQuantizer::Build(const std::vector<LayerForm>& forms) const {
  Model model = model_.Clone();
  std::vector<QdqLayer> layers = PlainLayers();
  std::vector<std::optional<CodedMatrix>> weights;
  for (const StaticLayer& entry : layers_) weights.push_back(entry.weight);
  std::set<std::string> integer;
  for (size_t i = 0; i < layers.size(); ++i) {
    if (forms[i] == LayerForm::kInteger) integer.insert(layers[i].node);
  }
  std::vector<BiasCorrection> corrections;
  for (const BiasCorrection& row : corrections_) {
    if (integer.contains(row.node)) corrections.push_back(row);
  }
  if (!corrections.empty()) {
    MP_RETURN_IF_ERROR(ShiftBiases(model, corrections, arena_).status());
    // A correction may have been a layer's first bias.
    absl::flat_hash_map<std::string, std::string> biases;
    ForEachGraph(model.mutable_proto(), [&](onnx::GraphProto& graph, int) {
      for (const onnx::NodeProto& node : graph.node()) {
        if (node.input_size() > 2) biases.emplace(node.name(), node.input(2));
      }
    });
    for (QdqLayer& layer : layers) {
      const auto found = biases.find(layer.node);
      if (layer.op_type == "MatMul" || found == biases.end() || found->second.empty()) continue;
      layer.has_bias = true;
      layer.bias_name = found->second;
    }
  }
  MP_RETURN_IF_ERROR(
      RewriteToQdq(model, arena_, layers, forms, ranges_, weights, options_.rewrite));
  return model;
}

const Histogram* StaticQuantizer::InputHistogram(size_t i) const {
  const ValueStatistics* seen = statistics_.Find(input_grids_[i][0]);
  return seen != nullptr && seen->histogram.has_value() ? &*seen->histogram : nullptr;
}

std::vector<LayerForm> StaticQuantizer::AllInteger() const {
  std::vector<LayerForm> forms;
  for (const StaticLayer& entry : layers_) {
    if (entry.problem.empty()) {
      forms.push_back(LayerForm::kInteger);
    } else {
      const bool coded = options_.code_unobserved && entry.weight.has_value();
      forms.push_back(coded ? LayerForm::kCodedWeight : LayerForm::kFloat);
    }
  }
  return forms;
}

}  // namespace modelpress
