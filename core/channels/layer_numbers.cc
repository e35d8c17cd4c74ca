// Reading and writing what is refitted: see layer_numbers.h.
#include "core/channels/layer_numbers.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>

#include "core/base/status.h"

namespace modelpress {
namespace {

std::string InputName(const onnx::NodeProto& node, int input) {
  return input < node.input_size() ? node.input(input) : std::string();
}

}  // namespace

// `count` times `fill` where there is no such constant.
absl::StatusOr<std::vector<double>> LayerNumbers::Floats(const std::string& name, size_t count,
                                                         double fill) {
  const GraphIndex index(model_.mutable_proto());
  const onnx::TensorProto* tensor =
      name.empty() ? nullptr : index.Constant(model_.proto().graph(), name);
  if (tensor == nullptr) return std::vector<double>(count, fill);
  MP_ASSIGN_OR_RETURN(const auto bytes, model_.Bytes(*tensor));
  std::vector<double> values(bytes.size() / sizeof(float));
  for (size_t i = 0; i < values.size(); ++i) {
    float value;
    std::memcpy(&value, bytes.data() + i * sizeof(value), sizeof(value));
    values[i] = value;
  }
  return values;
}

// Gives an input of a node new values: in place where nobody else reads the constant.
absl::Status LayerNumbers::SetInput(onnx::NodeProto& node, int input, std::vector<int64_t> dims,
                                    const std::vector<double>& values) {
  std::vector<float> floats(values.begin(), values.end());
  const std::string old = InputName(node, input);
  onnx::GraphProto& graph = *model_.mutable_proto().mutable_graph();
  const GraphIndex index(model_.mutable_proto());
  onnx::TensorProto* tensor = old.empty() ? nullptr : index.Constant(graph, old);
  if (tensor != nullptr) dims.assign(tensor->dims().begin(), tensor->dims().end());
  if (tensor == nullptr || index.Uses(graph, old).size() != 1 || index.IsGraphOutput(graph, old)) {
    tensor = graph.add_initializer();
    tensor->set_name(names_.Make(old.empty() ? node.output(0) + "_bias" : old + "_refitted"));
    while (node.input_size() <= input) node.add_input("");
    node.set_input(input, tensor->name());
  }
  return model_.SetBytes(tensor, DataType::kFloat, dims, std::as_bytes(std::span(floats)), arena_);
}

absl::StatusOr<std::vector<LinearFit>> LayerNumbers::Present(const RefitSite& site) {
  const RowLayout& rows = site.rows;
  std::vector<LinearFit> fits(rows.groups);
  if (rows.kind == RowLayout::Kind::kChannel) {
    for (LinearFit& fit : fits) fit = {{1}, {0}};
    return fits;
  }
  const size_t inputs = rows.inputs, outputs = rows.outputs;
  MP_ASSIGN_OR_RETURN(const std::vector<double> weight,
                      Floats(site.weight, rows.groups * inputs * outputs, 0));
  std::vector<double> bias(rows.groups * outputs);
  if (site.bias_node != nullptr && !site.bias_apart) {
    MP_ASSIGN_OR_RETURN(const auto given,
                        Floats(InputName(*site.bias_node, site.bias_input), 0, 0));
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
            site.outputs_first ? from[n * inputs + k] : from[k * outputs + n];
      }
    }
  }
  return fits;
}

LinearFit LayerNumbers::SharedBias(const RefitSite& site, LinearFit fit) {
  if (site.rows.kind != RowLayout::Kind::kTransposed) return fit;
  size_t taps = 1;
  for (const int64_t extent : site.rows.kernel) taps *= static_cast<size_t>(extent);
  for (size_t first = 0; first < fit.bias.size(); first += taps) {
    double sum = 0;
    for (size_t i = 0; i < taps; ++i) sum += fit.bias[first + i];
    for (size_t i = 0; i < taps; ++i) fit.bias[first + i] = sum / static_cast<double>(taps);
  }
  return fit;
}

absl::StatusOr<LayerNumbers::Statistics> LayerNumbers::NewStatistics(
    const RefitSite& site, const std::vector<RowMoments>& moments) {
  const onnx::NodeProto& node = *site.node;
  const size_t channels = site.rows.groups;
  Statistics result;
  MP_ASSIGN_OR_RETURN(const auto scale, Floats(node.input(1), channels, 1));
  MP_ASSIGN_OR_RETURN(const auto bias, Floats(node.input(2), channels, 0));
  MP_ASSIGN_OR_RETURN(result.mean, Floats(node.input(3), channels, 0));
  MP_ASSIGN_OR_RETURN(result.variance, Floats(node.input(4), channels, 1));
  for (size_t c = 0; c < channels; ++c) {
    const double mean = moments[c].At(0, 2);
    const double variance = std::max(0.0, moments[c].At(0, 0) - mean * mean);
    const double sigma = std::sqrt(result.variance[c] + site.epsilon);
    if (std::abs(scale[c]) < 1e-12) {
      result.fits.push_back({{1}, {0}});
      continue;
    }
    result.mean[c] += (mean - bias[c]) * sigma / scale[c];
    result.variance[c] = variance * sigma * sigma / (scale[c] * scale[c]);
    const double ratio = sigma / std::sqrt(result.variance[c] + site.epsilon);
    result.fits.push_back({{ratio}, {bias[c] - mean * ratio}});
  }
  return result;
}

absl::Status LayerNumbers::WriteStatistics(const RefitSite& site, const Statistics& statistics) {
  const auto size = static_cast<int64_t>(site.rows.groups);
  MP_RETURN_IF_ERROR(SetInput(*site.node, 3, {size}, statistics.mean));
  return SetInput(*site.node, 4, {size}, statistics.variance);
}

absl::Status LayerNumbers::Write(const RefitSite& site, const std::vector<LinearFit>& fits) {
  const RowLayout& rows = site.rows;
  const size_t inputs = rows.inputs, outputs = rows.outputs;
  std::vector<double> weight(rows.groups * inputs * outputs), bias;
  for (size_t g = 0; g < rows.groups; ++g) {
    double* to = weight.data() + g * inputs * outputs;
    for (size_t k = 0; k < inputs; ++k) {
      for (size_t n = 0; n < outputs; ++n) {
        (site.outputs_first ? to[n * inputs + k] : to[k * outputs + n]) =
            fits[g].weight[k * outputs + n];
      }
    }
    bias.insert(bias.end(), fits[g].bias.begin(), fits[g].bias.end());
  }
  onnx::NodeProto& node = *site.node;
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
      SetInput(node, site.weight_input, {static_cast<int64_t>(weight.size())}, weight));
  if (site.bias_node == nullptr) return absl::OkStatus();
  if (rows.kind == RowLayout::Kind::kTransposed) {
    size_t taps = 1;
    for (const int64_t extent : rows.kernel) taps *= static_cast<size_t>(extent);
    for (size_t o = 0; o < outputs / taps; ++o) bias[o] = bias[o * taps];
    bias.resize(outputs / taps);
  }
  if (site.bias_apart) {
    MP_ASSIGN_OR_RETURN(const auto present,
                        Floats(InputName(*site.bias_node, site.bias_input), 0, 0));
    for (size_t n = 0; n < bias.size(); ++n) bias[n] += present[n];
  }
  return SetInput(*site.bias_node, site.bias_input, {static_cast<int64_t>(bias.size())}, bias);
}

}  // namespace modelpress
