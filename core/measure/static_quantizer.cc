// Building quantized versions of a float model; see static_quantizer.h.
#include "core/measure/static_quantizer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/quant/qdq_flow.h"
#include "core/quant/quantize_tensor.h"
#include "core/quant/weight_selection.h"

namespace modelpress {
namespace {

double Product(std::span<const int64_t> extents) {
  double product = 1;
  for (const int64_t extent : extents) product *= static_cast<double>(extent);
  return product;
}

// Multiply-accumulates of a layer from the extents of what it reads and gives.
double MacsOf(const QdqLayer& layer, const onnx::NodeProto& node,
              std::span<const int64_t> input, std::span<const int64_t> other,
              std::span<const int64_t> output, std::span<const int64_t> weight) {
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
    const uint64_t at = ((k / layout.inner) * layout.channels + channel) * layout.inner + k % layout.inner;
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
  const QdqFlow flow(model_, index, plain, AllUsable(), options_.rewrite.activations.symmetric);
  std::set<ValueKey> wanted;
  for (const auto& [value, grid] : flow.stored()) {
    wanted.insert(value);
    wanted.insert(grid);
  }
  input_grids_.resize(plain.size());
  for (size_t i = 0; i < plain.size(); ++i) {
    for (const int input : plain[i].activations) {
      const QdqFlow::Reading reading = flow.Read(plain[i], input);
      wanted.insert(reading.value);
      wanted.insert(reading.grid);
      if (input == plain[i].activations[0]) input_grids_[i] = reading.grid;
    }
  }
  std::vector<StatisticRequest> requests;
  for (const ValueKey& key : wanted) requests.push_back({.key = key, .histogram = histograms});
  MP_ASSIGN_OR_RETURN(statistics_, GatherStatistics(model_, samples, std::move(requests), context_,
                                                    progress));
  std::map<ValueKey, std::string> reasons;
  for (const Unobserved& row : statistics_.unobserved()) reasons[row.key] = row.reason;
  const auto missing = [&](const ValueKey& key) {
    return statistics_.Find(key) != nullptr ? std::string()
                                            : FormatString("'{}' was not observed: {}", key.value,
                                                          reasons[key]);
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
    const std::span<const int64_t> weight =
        entry.weight.has_value() ? std::span<const int64_t>(entry.weight->dims)
                                 : std::span<const int64_t>();
    entry.macs = MacsOf(plain[i], *flow.Node(plain[i].key), dims[0],
                        dims.size() > 1 ? dims[1] : std::span<const int64_t>(), output, weight);
  }
  return absl::OkStatus();
}

ValueRange StaticQuantizer::RangeFor(const ValueKey& key, const ValueStatistics& statistics,
                                     const RangeRule& rule) const {
  RangeRule chosen = rule;
  for (const RangeException& exception : options_.exceptions) {
    const bool matches = std::ranges::any_of(exception.match, [&](const std::string& glob) {
      return GlobMatches(glob, key.value);
    });
    if (!matches) continue;
    if (exception.range.has_value()) return *exception.range;
    if (exception.rule.has_value()) chosen = *exception.rule;
    break;
  }
  if (chosen.method == RangeMethod::kMinMax || !statistics.histogram.has_value()) {
    return {static_cast<float>(statistics.min), static_cast<float>(statistics.max), true};
  }
  const CodeLimits limits = options_.rewrite.activations.limits();
  chosen.symmetric = options_.rewrite.activations.symmetric;
  chosen.steps = limits.highest - limits.lowest;
  return ChooseRange(*statistics.histogram, chosen);
}

absl::Status StaticQuantizer::UseRanges(const RangeRule& rule) {
  ranges_.clear();
  statistics_.ForEach([&](const ValueKey& key, const ValueStatistics& statistics) {
    ranges_[key] = RangeFor(key, statistics, rule);
  });
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
    // Corrections may have given a layer its first bias, or another one.
    if (const onnx::NodeProto& made = *flow.Node(entry.layer.key);
        made.op_type() != "MatMul" && made.input_size() > 2 && !made.input(2).empty()) {
      entry.layer.has_bias = true;
      entry.layer.bias_name = made.input(2);
    }
    if (!entry.problem.empty() || !entry.layer.has_bias || !options_.rewrite.integer_bias) continue;
    const onnx::GraphProto& graph = *flow.Graph(entry.layer.key.graph);
    const onnx::NodeProto& node = *flow.Node(entry.layer.key);
    MP_ASSIGN_OR_RETURN(const auto bytes, model_.Bytes(*index.Constant(graph, node.input(2))));
    const AffineParameters x =
        ChooseParameters(ranges_.at(input_grids_[i]), activations.limits(), activations.symmetric);
    for (size_t c = 0; c < bytes.size() / sizeof(float); ++c) {
      float bias;
      std::memcpy(&bias, bytes.data() + c * sizeof(float), sizeof(float));
      constexpr double kLargest = 2147483647.0, kHair = 1.0001;
      AffineParameters& p = entry.weight->parameters[entry.weight->axis.has_value() ? c : 0];
      const double needed = std::abs(static_cast<double>(bias)) / kLargest / x.scale * kHair;
      if (p.scale >= needed) continue;
      p.scale = static_cast<float>(needed);
      ++entry.raised_channels;
    }
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
    const ValueStatistics& seen = *statistics_.Find(input_grids_[i]);
    entry.range = ranges_.at(input_grids_[i]);
    entry.clipped_share = 0;
    entry.activation_sqnr_db.reset();
    if (seen.histogram.has_value()) {
      entry.clipped_share = ClippedShare(*seen.histogram, entry.range);
      const double sqnr =
          ExpectedSqnrDb(*seen.histogram, entry.range, limits.highest - limits.lowest);
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

absl::StatusOr<Model> StaticQuantizer::Build(const std::vector<bool>& active) const {
  Model model = model_.Clone();
  std::vector<std::optional<CodedMatrix>> weights;
  for (const StaticLayer& entry : layers_) weights.push_back(entry.weight);
  MP_RETURN_IF_ERROR(RewriteToQdq(model, arena_, PlainLayers(), active, ranges_, weights,
                                  options_.rewrite));
  return model;
}

std::vector<bool> StaticQuantizer::AllUsable() const {
  std::vector<bool> usable;
  for (const StaticLayer& entry : layers_) usable.push_back(entry.problem.empty());
  return usable;
}

}  // namespace modelpress
