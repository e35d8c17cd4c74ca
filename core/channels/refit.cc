// Layer after layer onto the dense model's outputs; see refit.h.
#include "core/channels/refit.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <span>

#include "absl/container/flat_hash_map.h"
#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/channels/gather_rows.h"
#include "core/channels/refit_site.h"

namespace modelpress {
namespace {

// Ridges that are tried, against the mean of the diagonal. The moments are sums of float32
// products.
constexpr double kDampings[] = {1e-6, 1e-4, 1e-3, 1e-2, 1e-1};

class Refitter {
 public:
  Refitter(const Model& dense, Model& narrow, const Dependencies& dependencies,
           const KeptPositions& kept, const Samples& samples, WeightArena& arena,
           const JobContext& context, const NarrowProgress& progress)
      : dense_(dense),
        narrow_(narrow),
        dependencies_(dependencies),
        kept_(kept),
        samples_(samples),
        arena_(arena),
        context_(context),
        progress_(progress),
        names_(narrow.proto()) {}

  absl::StatusOr<ModelRefit> Run() {
    {
      const GraphIndex index(narrow_.mutable_proto());
      FindLayers(index);
    }
    int levels = 0;
    for (const Layer& layer : layers_) levels = std::max(levels, layer.level + 1);
    for (int level = 0; level < levels; ++level) {
      std::vector<Layer*> together;
      for (Layer& layer : layers_) {
        if (layer.level == level) together.push_back(&layer);
      }
      if (progress_) {
        progress_(static_cast<double>(level) / levels,
                  together.empty() ? "" : NodeName(*together[0]->site.node));
      }
      std::vector<RowRequest*> requests;
      for (Layer* layer : together) requests.push_back(&layer->rows);
      MP_RETURN_IF_ERROR(GatherRows(narrow_, dense_, samples_, requests, context_));
      for (Layer* layer : together) MP_RETURN_IF_ERROR(Fit(*layer));
    }
    RemoveDead(narrow_.mutable_proto());
    return std::move(result_);
  }

 private:
  struct Layer {
    RefitSite site;
    std::string output;
    int level = 0;
    RowRequest rows;
  };

  // Whether the node's sums run over positions that are gone.
  bool SumsOverCut(const onnx::NodeProto& node) const {
    const auto cut = [&](const std::string& value, int axis) {
      return kept_.contains({value, axis});
    };
    if (node.op_type() == "LayerNormalization") {
      const auto found = kept_.lower_bound({node.input(0), 0});
      return found != kept_.end() && found->first.first == node.input(0);
    }
    for (const ChannelLayer& layer : dependencies_.layers) {
      if (layer.output != node.output(0) || layer.value_axis < 0) continue;
      if (IntAttribute(node, "group", 1) == 1 && cut(layer.value, layer.value_axis)) return true;
    }
    return false;
  }

  void FindLayers(const GraphIndex& index) {
    absl::flat_hash_map<std::string, int> levels;
    int highest = 0;
    bool any = false;
    for (onnx::NodeProto& node : *narrow_.mutable_proto().mutable_graph()->mutable_node()) {
      if (node.output_size() == 0) continue;
      int level = 0;
      bool affected = SumsOverCut(node);
      for (const std::string& input : node.input()) {
        if (const auto found = levels.find(input); found != levels.end()) {
          level = std::max(level, found->second);
          affected = true;
        }
      }
      const bool subgraph = std::ranges::any_of(node.attribute(), [](const auto& attribute) {
        return attribute.has_g() || attribute.graphs_size() > 0;
      });
      if (subgraph && any) level = highest, affected = true;
      if (!affected) continue;
      std::string why;
      auto site = FindRefitSite(narrow_, index, dependencies_.shapes, kept_, node, &why);
      if (site.has_value()) {
        Layer& layer = layers_.emplace_back();
        layer.site = *std::move(site);
        layer.output = node.output(0);
        layer.level = level++;
        layer.rows = {.rows = layer.site.rows, .x = layer.site.x, .y = layer.output};
      } else if (!why.empty()) {
        result_.left.emplace_back(NodeName(node), why);
      }
      for (const std::string& output : node.output()) levels[output] = level;
      highest = std::max(highest, level);
      any = true;
    }
  }

  absl::StatusOr<std::vector<double>> Floats(const std::string& name, size_t count, double fill) {
    const GraphIndex index(narrow_.mutable_proto());
    const onnx::TensorProto* tensor =
        name.empty() ? nullptr : index.Constant(narrow_.proto().graph(), name);
    if (tensor == nullptr) return std::vector<double>(count, fill);
    MP_ASSIGN_OR_RETURN(const auto bytes, narrow_.Bytes(*tensor));
    std::vector<double> values(bytes.size() / sizeof(float));
    for (size_t i = 0; i < values.size(); ++i) {
      float value;
      std::memcpy(&value, bytes.data() + i * sizeof(value), sizeof(value));
      values[i] = value;
    }
    return values;
  }

  static std::string InputName(const onnx::NodeProto& node, int input) {
    return input < node.input_size() ? node.input(input) : std::string();
  }

  // Gives an input of a node new values: in place where nobody else reads the constant.
  absl::Status SetInput(onnx::NodeProto& node, int input, std::vector<int64_t> dims,
                        const std::vector<double>& values) {
    std::vector<float> floats(values.begin(), values.end());
    const std::string old = InputName(node, input);
    onnx::GraphProto& graph = *narrow_.mutable_proto().mutable_graph();
    const GraphIndex index(narrow_.mutable_proto());
    onnx::TensorProto* tensor = old.empty() ? nullptr : index.Constant(graph, old);
    if (tensor != nullptr) dims.assign(tensor->dims().begin(), tensor->dims().end());
    if (tensor == nullptr || index.Uses(graph, old).size() != 1 ||
        index.IsGraphOutput(graph, old)) {
      tensor = graph.add_initializer();
      tensor->set_name(names_.Make(old.empty() ? node.output(0) + "_bias" : old + "_refitted"));
      while (node.input_size() <= input) node.add_input("");
      node.set_input(input, tensor->name());
    }
    return narrow_.SetBytes(tensor, DataType::kFloat, dims, std::as_bytes(std::span(floats)),
                            arena_);
  }

  // The cut layer as a linear map for each group.
  absl::StatusOr<std::vector<LinearFit>> Present(const Layer& layer) {
    const RowLayout& rows = layer.site.rows;
    std::vector<LinearFit> fits(rows.groups);
    if (rows.kind == RowLayout::Kind::kChannel) {
      for (LinearFit& fit : fits) fit = {{1}, {0}};
      return fits;
    }
    const size_t inputs = rows.inputs, outputs = rows.outputs;
    MP_ASSIGN_OR_RETURN(const std::vector<double> weight,
                        Floats(layer.site.weight, rows.groups * inputs * outputs, 0));
    std::vector<double> bias(rows.groups * outputs);
    if (layer.site.bias_node != nullptr && !layer.site.bias_apart) {
      MP_ASSIGN_OR_RETURN(const auto given,
                          Floats(InputName(*layer.site.bias_node, layer.site.bias_input), 0, 0));
      for (size_t i = 0; i < bias.size() && !given.empty(); ++i) {
        bias[i] =
            given[rows.kind == RowLayout::Kind::kTransposed ? i * given.size() / bias.size() : i];
      }
    }
    for (size_t g = 0; g < rows.groups; ++g) {
      LinearFit& fit = fits[g];
      fit.weight.resize(inputs * outputs);
      fit.bias.assign(bias.begin() + static_cast<std::ptrdiff_t>(g * outputs),
                      bias.begin() + static_cast<std::ptrdiff_t>((g + 1) * outputs));
      const double* from = weight.data() + g * inputs * outputs;
      for (size_t k = 0; k < inputs; ++k) {
        for (size_t n = 0; n < outputs; ++n) {
          fit.weight[k * outputs + n] =
              layer.site.outputs_first ? from[n * inputs + k] : from[k * outputs + n];
        }
      }
    }
    return fits;
  }

  absl::Status Fit(Layer& layer) {
    MP_RETURN_IF_ERROR(context_.cancellation->Check());
    const RowLayout& rows = layer.site.rows;
    const std::string node = NodeName(*layer.site.node);
    if (!layer.rows.problem.empty()) {
      result_.left.emplace_back(node, layer.rows.problem);
      return absl::OkStatus();
    }
    MP_ASSIGN_OR_RETURN(const std::vector<LinearFit> start, Present(layer));
    std::vector<RowMoments> fit, held_back;
    for (size_t g = 0; g < rows.groups; ++g) {
      fit.push_back(layer.rows.fit->Moments(g));
      held_back.push_back(layer.rows.held_back->Moments(g));
    }
    layer.rows.fit.reset();
    layer.rows.held_back.reset();
    LayerRefit row{.node = node, .output = layer.output};
    for (const RowMoments& moments : held_back) row.signal += moments.Signal();
    MP_ASSIGN_OR_RETURN(row.cut_noise, Noise(start, held_back));
    row.noise = row.cut_noise;
    std::vector<LinearFit> best;
    const auto consider = [&](std::vector<LinearFit> candidate, LayerRefit::Kept kind,
                              double damping) -> absl::Status {
      MP_ASSIGN_OR_RETURN(const double noise, Noise(candidate, held_back));
      if (!(noise < row.noise)) return absl::OkStatus();
      row.noise = noise;
      row.kept = kind;
      row.damping = damping;
      best = std::move(candidate);
      return absl::OkStatus();
    };
    const bool with_bias = layer.site.bias_node != nullptr;
    if (with_bias) {
      std::vector<LinearFit> candidate;
      for (size_t g = 0; g < rows.groups; ++g) {
        candidate.push_back(SharedBias(layer, WithBestBias(start[g], fit[g])));
      }
      MP_RETURN_IF_ERROR(consider(std::move(candidate), LayerRefit::Kept::kBias, 0));
    }
    for (const double damping : kDampings) {
      std::vector<LinearFit> candidate;
      for (size_t g = 0; g < rows.groups; ++g) {
        MP_ASSIGN_OR_RETURN(auto solved,
                            SolveRidge(fit[g], start[g], damping, with_bias, context_));
        candidate.push_back(solved.has_value() ? SharedBias(layer, *std::move(solved)) : start[g]);
      }
      MP_RETURN_IF_ERROR(consider(std::move(candidate), LayerRefit::Kept::kRidge, damping));
    }
    std::optional<Statistics> statistics;
    if (layer.site.has_statistics) {
      MP_ASSIGN_OR_RETURN(statistics, NewStatistics(layer, fit));
      MP_RETURN_IF_ERROR(consider(statistics->fits, LayerRefit::Kept::kStatistics, 0));
    }
    if (row.kept == LayerRefit::Kept::kStatistics) {
      const auto size = static_cast<int64_t>(rows.groups);
      MP_RETURN_IF_ERROR(SetInput(*layer.site.node, 3, {size}, statistics->mean));
      MP_RETURN_IF_ERROR(SetInput(*layer.site.node, 4, {size}, statistics->variance));
    } else if (row.kept != LayerRefit::Kept::kCut) {
      MP_RETURN_IF_ERROR(Write(layer, best));
    }
    result_.layers.push_back(std::move(row));
    return absl::OkStatus();
  }

  // A transposed convolution has one bias for all taps of an output channel.
  static LinearFit SharedBias(const Layer& layer, LinearFit fit) {
    if (layer.site.rows.kind != RowLayout::Kind::kTransposed) return fit;
    size_t taps = 1;
    for (const int64_t extent : layer.site.rows.kernel) taps *= static_cast<size_t>(extent);
    for (size_t first = 0; first < fit.bias.size(); first += taps) {
      double sum = 0;
      for (size_t i = 0; i < taps; ++i) sum += fit.bias[first + i];
      for (size_t i = 0; i < taps; ++i) fit.bias[first + i] = sum / static_cast<double>(taps);
    }
    return fit;
  }

  absl::StatusOr<double> Noise(const std::vector<LinearFit>& fits,
                               const std::vector<RowMoments>& moments) const {
    double noise = 0;
    for (size_t g = 0; g < fits.size(); ++g) {
      MP_ASSIGN_OR_RETURN(const double of_group, NoiseOf(fits[g], moments[g], context_));
      noise += of_group;
    }
    return noise;
  }

  // Mean and variance that the input of a BatchNormalization has now, and what they make of its
  // output: with o = s (x - m) / sigma + b, the mean of x is m + (mean of o - b) sigma / s.
  struct Statistics {
    std::vector<double> mean, variance;
    std::vector<LinearFit> fits;
  };
  absl::StatusOr<Statistics> NewStatistics(const Layer& layer,
                                           const std::vector<RowMoments>& moments) {
    const onnx::NodeProto& node = *layer.site.node;
    const size_t channels = layer.site.rows.groups;
    Statistics result;
    MP_ASSIGN_OR_RETURN(const auto scale, Floats(node.input(1), channels, 1));
    MP_ASSIGN_OR_RETURN(const auto bias, Floats(node.input(2), channels, 0));
    MP_ASSIGN_OR_RETURN(result.mean, Floats(node.input(3), channels, 0));
    MP_ASSIGN_OR_RETURN(result.variance, Floats(node.input(4), channels, 1));
    for (size_t c = 0; c < channels; ++c) {
      const double mean = moments[c].At(0, 2);
      const double variance = std::max(0.0, moments[c].At(0, 0) - mean * mean);
      const double sigma = std::sqrt(result.variance[c] + layer.site.epsilon);
      if (std::abs(scale[c]) < 1e-12) {
        result.fits.push_back({{1}, {0}});
        continue;
      }
      result.mean[c] += (mean - bias[c]) * sigma / scale[c];
      result.variance[c] = variance * sigma * sigma / (scale[c] * scale[c]);
      const double ratio = sigma / std::sqrt(result.variance[c] + layer.site.epsilon);
      result.fits.push_back({{ratio}, {bias[c] - mean * ratio}});
    }
    return result;
  }

  absl::Status Write(const Layer& layer, const std::vector<LinearFit>& fits) {
    const RowLayout& rows = layer.site.rows;
    const size_t inputs = rows.inputs, outputs = rows.outputs;
    std::vector<double> weight(rows.groups * inputs * outputs), bias;
    for (size_t g = 0; g < rows.groups; ++g) {
      double* to = weight.data() + g * inputs * outputs;
      for (size_t k = 0; k < inputs; ++k) {
        for (size_t n = 0; n < outputs; ++n) {
          (layer.site.outputs_first ? to[n * inputs + k] : to[k * outputs + n]) =
              fits[g].weight[k * outputs + n];
        }
      }
      bias.insert(bias.end(), fits[g].bias.begin(), fits[g].bias.end());
    }
    onnx::NodeProto& node = *layer.site.node;
    if (rows.kind == RowLayout::Kind::kChannel) {
      // What is done to the output is done to scale and bias.
      MP_ASSIGN_OR_RETURN(std::vector<double> scale, Floats(InputName(node, 1), rows.groups, 1));
      MP_ASSIGN_OR_RETURN(const auto old_bias, Floats(InputName(node, 2), rows.groups, 0));
      for (size_t c = 0; c < rows.groups; ++c) {
        scale[c] *= weight[c];
        bias[c] += old_bias[c] * weight[c];
      }
      weight = std::move(scale);
    }
    MP_RETURN_IF_ERROR(
        SetInput(node, layer.site.weight_input, {static_cast<int64_t>(weight.size())}, weight));
    if (layer.site.bias_node == nullptr) return absl::OkStatus();
    if (rows.kind == RowLayout::Kind::kTransposed) {
      size_t taps = 1;
      for (const int64_t extent : rows.kernel) taps *= static_cast<size_t>(extent);
      for (size_t o = 0; o < outputs / taps; ++o) bias[o] = bias[o * taps];
      bias.resize(outputs / taps);
    }
    if (layer.site.bias_apart) {
      MP_ASSIGN_OR_RETURN(const auto present,
                          Floats(InputName(*layer.site.bias_node, layer.site.bias_input), 0, 0));
      for (size_t n = 0; n < bias.size(); ++n) bias[n] += present[n];
    }
    return SetInput(*layer.site.bias_node, layer.site.bias_input,
                    {static_cast<int64_t>(bias.size())}, bias);
  }

  const Model& dense_;
  Model& narrow_;
  const Dependencies& dependencies_;
  const KeptPositions& kept_;
  const Samples& samples_;
  WeightArena& arena_;
  const JobContext& context_;
  const NarrowProgress& progress_;
  UniqueNames names_;
  std::vector<Layer> layers_;
  ModelRefit result_;
};

}  // namespace

absl::StatusOr<ModelRefit> RefitModel(const Model& dense, Model& narrow,
                                      const Dependencies& dependencies, const KeptPositions& kept,
                                      const Samples& samples, WeightArena& arena,
                                      const JobContext& context, const NarrowProgress& progress) {
  return Refitter(dense, narrow, dependencies, kept, samples, arena, context, progress).Run();
}

}  // namespace modelpress
