// SmoothQuant; see smoothing.h.
#include "core/quant/smoothing.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <utility>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/quant/skip.h"

namespace modelpress {
namespace {

// Below this, a maximum counts as this much (Xiao et al., the authors' implementation).
constexpr double kFloor = 1e-5;
constexpr double kFirstAlpha = 0.3, kLastAlpha = 0.9, kAlphaStep = 0.05;
constexpr int kLongestChain = 8;

bool Among(std::string_view value, std::initializer_list<std::string_view> list) {
  return std::ranges::find(list, value) != list.end();
}

std::string NodeName(const onnx::NodeProto& node) {
  return node.name().empty() && node.output_size() > 0 ? node.output(0) : node.name();
}

float LoadFloat(std::span<const std::byte> bytes, uint64_t index) {
  float value;
  std::memcpy(&value, bytes.data() + index * sizeof(value), sizeof(value));
  return value;
}

class Finder {
 public:
  Finder(Model& model, const GraphIndex& index, std::vector<v1::Skip>* skips)
      : model_(model), index_(index), skips_(skips) {}

  std::vector<SmoothTarget> Find() {
    ForEachGraph(model_.mutable_proto(), [&](onnx::GraphProto& graph, int) {
      for (onnx::NodeProto& node : *graph.mutable_node()) {
        if (IsDefaultDomain(node.domain()) && Among(node.op_type(), {"MatMul", "Gemm"})) {
          AddReader(graph, node);
        }
      }
    });
    for (SmoothTarget& target : targets_) Absorb(&target);
    return std::move(targets_);
  }

 private:
  onnx::TensorProto* Float(const onnx::GraphProto& graph, const std::string& name) const {
    onnx::TensorProto* tensor = name.empty() ? nullptr : index_.Constant(graph, name);
    return tensor != nullptr && Type(*tensor) == DataType::kFloat ? tensor : nullptr;
  }
  bool IsOurs(const onnx::GraphProto& graph, const std::string& name) const {
    return index_.Uses(graph, name).size() == 1 && !index_.IsGraphOutput(graph, name);
  }

  void AddReader(onnx::GraphProto& graph, onnx::NodeProto& node) {
    onnx::TensorProto* weight = node.input_size() > 1 ? Float(graph, node.input(1)) : nullptr;
    if (weight == nullptr || index_.Constant(graph, node.input(0)) != nullptr) return;
    const auto skip = [&](SkipReason reason, std::string_view detail) {
      skips_->push_back(MakeSkip(reason, node.input(1), NodeName(node), detail));
    };
    const auto dims = Dims(*weight);
    if (dims.size() != 2 || dims[0] <= 0 || dims[1] <= 0) {
      return skip(SkipReason::kNoChannelAxis, "its weight is not a matrix");
    }
    if (node.op_type() == "Gemm" && IntAttribute(node, "transA", 0) != 0) {
      return skip(SkipReason::kNoChannelAxis, "a Gemm with transA has its channels elsewhere");
    }
    if (!IsOurs(graph, node.input(1))) {
      return skip(SkipReason::kOtherReaders, "its weight has other readers");
    }
    const bool transposed = node.op_type() == "Gemm" && IntAttribute(node, "transB", 0) != 0;
    SmoothReader reader{&node,
                        weight,
                        node.input(1),
                        transposed,
                        static_cast<uint64_t>(dims[transposed ? 1 : 0]),
                        static_cast<uint64_t>(dims[transposed ? 0 : 1])};
    const auto key = std::pair<const onnx::GraphProto*, std::string>(&graph, node.input(0));
    const auto [place, fresh] = places_.try_emplace(key, targets_.size());
    if (fresh) targets_.push_back({&graph, node.input(0), reader.channels, {}, {}, ""});
    SmoothTarget& target = targets_[place->second];
    if (reader.channels != target.channels) {
      return skip(SkipReason::kNoChannelAxis, "another layer reads the value with other channels");
    }
    target.readers.push_back(std::move(reader));
  }

  // Follows x backwards to constants that can take 1 / s.
  void Absorb(SmoothTarget* target) {
    std::vector<SmoothAbsorber> absorbers;
    const std::string why = Follow(*target, &absorbers);
    if (why.empty()) {
      target->absorbers = std::move(absorbers);
    } else {
      target->not_absorbed = why;
    }
  }

  // Where a constant has its channels on the last axis (or is one number). Empty: taken.
  std::string Take(onnx::GraphProto& graph, onnx::NodeProto& node, int input, uint64_t channels,
                   bool divisor, bool may_expand, std::vector<SmoothAbsorber>* absorbers) const {
    const onnx::TensorProto* tensor = Float(graph, node.input(input));
    if (tensor == nullptr) return FormatString("a constant of {} is computed", NodeName(node));
    const auto dims = Dims(*tensor);
    const auto bytes = model_.Bytes(*tensor);
    if (!bytes.ok()) return "a constant without bytes";
    SmoothAbsorber absorber{&graph, &node, input, 1, 1, divisor, std::nullopt};
    const uint64_t count = bytes->size() / sizeof(float);
    if (may_expand && count == 1) {
      absorber.scalar = LoadFloat(*bytes, 0);
    } else if (dims.empty() || static_cast<uint64_t>(dims.back()) != channels) {
      return FormatString("a constant of {} is not one number for each channel", NodeName(node));
    } else if (!IsOurs(graph, node.input(input))) {
      return FormatString("a constant of {} has other readers", NodeName(node));
    } else {
      absorber.outer = count / channels;
    }
    absorbers->push_back(absorber);
    return "";
  }

  std::string Follow(const SmoothTarget& target, std::vector<SmoothAbsorber>* absorbers) const {
    onnx::GraphProto* graph = index_.DefiningGraph(*target.graph, target.value);
    std::string value = target.value;
    size_t readers = target.readers.size();
    for (int step = 0; step < kLongestChain; ++step) {
      if (graph == nullptr || index_.Uses(*graph, value).size() != readers ||
          index_.IsGraphOutput(*graph, value)) {
        return FormatString("'{}' has other readers", value);
      }
      onnx::NodeProto* node = index_.Producer(*graph, value);
      if (node == nullptr) return FormatString("'{}' is an input", value);
      const std::string& op = node->op_type();
      if (Among(op, {"LayerNormalization", "SimplifiedLayerNormalization"}) &&
          node->output(0) == value) {
        if (IntAttribute(*node, "axis", -1) != -1) return "a norm over several axes";
        for (int i = 1; i < node->input_size(); ++i) {
          if (node->input(i).empty()) continue;
          const std::string why = Take(*graph, *node, i, target.channels, false, false, absorbers);
          if (!why.empty()) return why;
        }
        return node->input_size() > 1 ? "" : "a norm without a scale";
      }
      if (!IsDefaultDomain(node->domain())) return FormatString("made by {}", op);
      if (op == "MatMul" || op == "Gemm") return TakeLinear(*graph, *node, target, absorbers);
      if (Among(op, {"Relu", "LeakyRelu", "Identity", "Dropout"})) {
        value = node->input(0);
        graph = index_.DefiningGraph(*graph, value);
        readers = 1;
        continue;
      }
      if (!Among(op, {"Add", "Sub", "Mul", "Div"})) return FormatString("made by {}", op);
      const int constant = index_.Constant(*graph, node->input(1)) != nullptr   ? 1
                           : index_.Constant(*graph, node->input(0)) != nullptr ? 0
                                                                                : -1;
      if (constant < 0) return FormatString("made by {} of two values", op);
      if (op == "Div" && constant == 0) return "made by Div of a constant";
      const bool product = op == "Mul" || op == "Div";
      const std::string why =
          Take(*graph, *node, constant, target.channels, op == "Div", product, absorbers);
      if (!why.empty() || product) return why;
      value = node->input(1 - constant);
      graph = index_.DefiningGraph(*graph, value);
      readers = 1;
    }
    return "nothing near takes it";
  }

  // Output channels of a layer before this one.
  std::string TakeLinear(onnx::GraphProto& graph, onnx::NodeProto& node, const SmoothTarget& target,
                         std::vector<SmoothAbsorber>* absorbers) const {
    const onnx::TensorProto* weight = Float(graph, node.input(1));
    if (weight == nullptr || !IsOurs(graph, node.input(1)) || Dims(*weight).size() != 2) {
      return FormatString("the weight of {} is not a matrix of its own", NodeName(node));
    }
    const bool transposed = node.op_type() == "Gemm" && IntAttribute(node, "transB", 0) != 0;
    const auto dims = Dims(*weight);
    if (static_cast<uint64_t>(dims[transposed ? 0 : 1]) != target.channels) {
      return "channels that do not fit";
    }
    SmoothAbsorber absorber{&graph, &node, 1, 1, 1, false, std::nullopt};
    (transposed ? absorber.inner : absorber.outer) =
        static_cast<uint64_t>(dims[transposed ? 1 : 0]);
    absorbers->push_back(absorber);
    if (node.input_size() < 3 || node.input(2).empty()) return "";
    return Take(graph, node, 2, target.channels, false, false, absorbers);
  }

  Model& model_;
  const GraphIndex& index_;
  std::vector<v1::Skip>* skips_;
  std::map<std::pair<const onnx::GraphProto*, std::string>, size_t> places_;
  std::vector<SmoothTarget> targets_;
};

uint64_t At(const SmoothReader& reader, uint64_t channel, uint64_t column) {
  return reader.transposed ? column * reader.channels + channel : channel * reader.columns + column;
}

// Noise and signal of one reader's output under scales, as smoothing.h says.
struct PredictedError {
  double noise = 0, signal = 0;
};

PredictedError PredictError(std::span<const std::byte> weight, const SmoothReader& reader,
                            const std::vector<double>& scales, const SmoothStatistics& fit,
                            const SmoothStatistics& held_back, bool per_channel) {
  const uint64_t channels = reader.channels, columns = reader.columns;
  double low = 0, high = 0;
  for (uint64_t j = 0; j < channels; ++j) {
    low = std::min(low, fit.min[j] / scales[j]);
    high = std::max(high, fit.max[j] / scales[j]);
  }
  const double step = (high - low) / 255;
  std::vector<double> steps(columns, 0.0);
  for (uint64_t j = 0; j < channels; ++j) {
    for (uint64_t n = 0; n < columns; ++n) {
      steps[n] = std::max(steps[n], std::abs(LoadFloat(weight, At(reader, j, n))) * scales[j]);
    }
  }
  if (!per_channel) std::ranges::fill(steps, *std::ranges::max_element(steps));
  for (double& value : steps) value = value > 0 ? value / 127 : 1;
  PredictedError error;
  for (uint64_t j = 0; j < channels; ++j) {
    double energy = 0, rounding = 0;
    for (uint64_t n = 0; n < columns; ++n) {
      const double scaled = LoadFloat(weight, At(reader, j, n)) * scales[j];
      const double lost = scaled - std::nearbyint(scaled / steps[n]) * steps[n];
      energy += scaled * scaled;
      rounding += lost * lost;
    }
    const double outside =
        std::max({0.0, low - held_back.min[j] / scales[j], held_back.max[j] / scales[j] - high});
    const double square = held_back.mean_square[j] / (scales[j] * scales[j]);
    error.noise += energy * (step * step / 12 + outside * outside) + rounding * square;
    error.signal += energy * square;
  }
  return error;
}

// New bytes for a constant, element i of channel c times factor(c).
template <typename Factor>
absl::Status Multiply(Model& model, onnx::TensorProto* tensor, uint64_t outer, uint64_t channels,
                      uint64_t inner, WeightArena& arena, const Factor& factor) {
  MP_ASSIGN_OR_RETURN(const auto values, model.Bytes(*tensor));
  MP_ASSIGN_OR_RETURN(WeightArena::Room room, arena.Allocate(values.size()));
  for (uint64_t run = 0; run < outer * channels; ++run) {
    const double by = factor(run % channels);
    for (uint64_t i = run * inner; i < (run + 1) * inner; ++i) {
      const auto value = static_cast<float>(LoadFloat(values, i) * by);
      std::memcpy(room.bytes.data() + i * sizeof(value), &value, sizeof(value));
    }
  }
  const std::vector<int64_t> dims(tensor->dims().begin(), tensor->dims().end());
  if (room.bytes.size() <= kInlineBytes) {
    return model.SetInline(tensor, DataType::kFloat, dims, room.bytes);
  }
  return model.SetWeight(tensor, DataType::kFloat, dims, std::move(room.weight));
}

// A vector of one number for each channel.
absl::StatusOr<std::string> AddVector(Model& model, onnx::GraphProto& graph, std::string name,
                                      const std::vector<float>& values, WeightArena& arena) {
  onnx::TensorProto* tensor = graph.add_initializer();
  tensor->set_name(name);
  const int64_t dims[] = {static_cast<int64_t>(values.size())};
  const auto bytes = std::as_bytes(std::span(values));
  if (bytes.size() <= kInlineBytes) {
    MP_RETURN_IF_ERROR(model.SetInline(tensor, DataType::kFloat, dims, bytes));
    return name;
  }
  MP_ASSIGN_OR_RETURN(WeightArena::Room room, arena.Allocate(bytes.size()));
  std::ranges::copy(bytes, room.bytes.begin());
  MP_RETURN_IF_ERROR(model.SetWeight(tensor, DataType::kFloat, dims, std::move(room.weight)));
  return name;
}

}  // namespace

std::vector<SmoothTarget> FindSmoothTargets(Model& model, const GraphIndex& index,
                                            std::vector<v1::Skip>* skips) {
  return Finder(model, index, skips).Find();
}

absl::StatusOr<Smoothing> ChooseSmoothing(const Model& model, const SmoothTarget& target,
                                          const SmoothStatistics& fit,
                                          const SmoothStatistics& held_back, bool per_channel,
                                          std::optional<double> alpha, double least_gain_db,
                                          const JobContext& context) {
  MP_RETURN_IF_ERROR(context.cancellation->Check());
  const uint64_t channels = target.channels;
  std::vector<std::span<const std::byte>> weights;
  std::vector<double> weight_max(channels, 0.0), value_max(channels);
  for (const SmoothReader& reader : target.readers) {
    MP_ASSIGN_OR_RETURN(const auto bytes, model.Bytes(*reader.weight));
    weights.push_back(bytes);
    for (uint64_t j = 0; j < channels; ++j) {
      for (uint64_t n = 0; n < reader.columns; ++n) {
        weight_max[j] =
            std::max<double>(weight_max[j], std::abs(LoadFloat(bytes, At(reader, j, n))));
      }
    }
  }
  for (uint64_t j = 0; j < channels; ++j) value_max[j] = std::max(-fit.min[j], fit.max[j]);

  // The first choice is to leave the value as it is.
  std::vector<double> alphas = {-1};
  if (alpha.has_value()) {
    alphas.push_back(*alpha);
  } else {
    for (double a = kFirstAlpha; a < kLastAlpha + kAlphaStep / 2; a += kAlphaStep) {
      alphas.push_back(a);
    }
  }
  struct Choice {
    std::vector<double> scales;
    double ratio = 0;  // noise to signal, mean over the readers
  };
  std::vector<Choice> choices(alphas.size());
  MP_RETURN_IF_ERROR(context.pool->ParallelFor(alphas.size(), [&](size_t i) -> absl::Status {
    Choice& choice = choices[i];
    choice.scales.assign(channels, 1.0);
    if (alphas[i] >= 0) {
      double sum = 0;
      uint64_t live = 0;
      for (uint64_t j = 0; j < channels; ++j) {
        if (value_max[j] == 0) continue;
        choice.scales[j] =
            std::max(kFloor, std::pow(std::max(value_max[j], kFloor), alphas[i]) /
                                 std::pow(std::max(weight_max[j], kFloor), 1 - alphas[i]));
        sum += std::log(choice.scales[j]);
        ++live;
      }
      // One factor for all channels changes nothing but the size of numbers: keep that. Channels
      // that were always 0 tell nothing.
      const double mean = live == 0 ? 1 : std::exp(sum / static_cast<double>(live));
      for (uint64_t j = 0; j < channels; ++j) {
        choice.scales[j] = value_max[j] == 0 ? 1 : choice.scales[j] / mean;
      }
    }
    for (size_t r = 0; r < target.readers.size(); ++r) {
      MP_RETURN_IF_ERROR(context.cancellation->Check());
      const PredictedError error =
          PredictError(weights[r], target.readers[r], choice.scales, fit, held_back, per_channel);
      choice.ratio += error.signal > 0 ? error.noise / error.signal : 0;
    }
    choice.ratio /= static_cast<double>(target.readers.size());
    return absl::OkStatus();
  }));
  const auto decibels = [](double ratio) {
    return ratio > 0 ? -10 * std::log10(ratio) : std::numeric_limits<double>::infinity();
  };
  size_t best = 1;
  for (size_t i = 1; i < choices.size(); ++i) {
    if (choices[i].ratio < choices[best].ratio) best = i;
  }
  Smoothing result{.scales = {},
                   .alpha = alphas[best],
                   .sqnr_db = decibels(choices[best].ratio),
                   .plain_sqnr_db = decibels(choices[0].ratio)};
  const bool gains = alpha.has_value() || result.sqnr_db >= result.plain_sqnr_db + least_gain_db;
  if (gains && std::isfinite(choices[best].ratio)) result.scales = std::move(choices[best].scales);
  return result;
}

absl::Status ApplySmoothing(Model& model, const SmoothTarget& target,
                            const std::vector<double>& scales, UniqueNames& names,
                            WeightArena& arena, const JobContext& context) {
  for (const SmoothReader& reader : target.readers) {
    MP_RETURN_IF_ERROR(context.cancellation->Check());
    MP_RETURN_IF_ERROR(Multiply(model, reader.weight, reader.transposed ? reader.columns : 1,
                                reader.channels, reader.transposed ? 1 : reader.columns, arena,
                                [&](uint64_t c) { return scales[c]; }));
  }
  if (target.absorbers.empty()) {
    std::vector<float> factors;
    for (const double scale : scales) factors.push_back(static_cast<float>(1 / scale));
    MP_ASSIGN_OR_RETURN(const std::string factor,
                        AddVector(model, *target.graph, names.Make(target.value + "_smooth_factor"),
                                  factors, arena));
    const std::string smooth = names.Make(target.value + "_smooth");
    for (const SmoothReader& reader : target.readers) reader.node->set_input(0, smooth);
    onnx::NodeProto& mul = *target.graph->add_node();
    mul.set_op_type("Mul");
    mul.set_name(names.Make(smooth + "_Mul"));
    mul.add_input(target.value);
    mul.add_input(factor);
    mul.add_output(smooth);
    return absl::OkStatus();
  }
  const GraphIndex index(model.mutable_proto());
  for (const SmoothAbsorber& absorber : target.absorbers) {
    const auto factor = [&](uint64_t c) { return absorber.divisor ? scales[c] : 1 / scales[c]; };
    const std::string name = absorber.node->input(absorber.input);
    if (!absorber.scalar.has_value()) {
      MP_RETURN_IF_ERROR(Multiply(model, index.Constant(*absorber.graph, name), absorber.outer,
                                  target.channels, absorber.inner, arena, factor));
      continue;
    }
    std::vector<float> values;
    for (uint64_t c = 0; c < target.channels; ++c) {
      values.push_back(static_cast<float>(*absorber.scalar * factor(c)));
    }
    MP_ASSIGN_OR_RETURN(
        const std::string vector,
        AddVector(model, *absorber.graph, names.Make(name + "_smooth"), values, arena));
    absorber.node->set_input(absorber.input, vector);
  }
  return absl::OkStatus();
}

}  // namespace modelpress
