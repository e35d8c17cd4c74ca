// SmoothQuant; see smoothing.h.
#include "core/quant/smoothing.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "core/base/status.h"
#include "core/quant/channel_scaling.h"

namespace modelpress {
namespace {

// Below this, a maximum counts as this much (Xiao et al., the authors' implementation).
constexpr double kFloor = 1e-5;
constexpr double kFirstAlpha = 0.3, kLastAlpha = 0.9, kAlphaStep = 0.05;

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
      steps[n] = std::max(steps[n], std::abs(FloatAt(weight, At(reader, j, n))) * scales[j]);
    }
  }
  if (!per_channel) std::ranges::fill(steps, *std::ranges::max_element(steps));
  for (double& value : steps) value = value > 0 ? value / 127 : 1;
  PredictedError error;
  for (uint64_t j = 0; j < channels; ++j) {
    double energy = 0, rounding = 0;
    for (uint64_t n = 0; n < columns; ++n) {
      const double scaled = FloatAt(weight, At(reader, j, n)) * scales[j];
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

// A vector of one number for each channel.
absl::StatusOr<std::string> AddVector(Model& model, onnx::GraphProto& graph, std::string name,
                                      const std::vector<float>& values, WeightArena& arena) {
  onnx::TensorProto* tensor = graph.add_initializer();
  tensor->set_name(name);
  const int64_t dims[] = {static_cast<int64_t>(values.size())};
  MP_RETURN_IF_ERROR(
      model.SetBytes(tensor, DataType::kFloat, dims, std::as_bytes(std::span(values)), arena));
  return name;
}

}  // namespace

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
        weight_max[j] = std::max<double>(weight_max[j], std::abs(FloatAt(bytes, At(reader, j, n))));
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
    const ChannelLayout layout = reader.transposed
                                     ? ChannelLayout{reader.columns, reader.channels, 1}
                                     : ChannelLayout{1, reader.channels, reader.columns};
    MP_RETURN_IF_ERROR(ScaleChannels(model, reader.weight, layout, scales, arena));
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
    std::vector<double> factors;
    for (const double scale : scales) factors.push_back(absorber.divisor ? scale : 1 / scale);
    const std::string name = absorber.node->input(absorber.input);
    if (!absorber.scalar.has_value()) {
      MP_RETURN_IF_ERROR(ScaleChannels(model, index.Constant(*absorber.graph, name),
                                       {absorber.outer, target.channels, absorber.inner}, factors,
                                       arena));
      continue;
    }
    std::vector<float> values;
    for (const double factor : factors) {
      values.push_back(static_cast<float>(*absorber.scalar * factor));
    }
    MP_ASSIGN_OR_RETURN(
        const std::string vector,
        AddVector(model, *absorber.graph, names.Make(name + "_smooth"), values, arena));
    absorber.node->set_input(absorber.input, vector);
  }
  return absl::OkStatus();
}

}  // namespace modelpress
