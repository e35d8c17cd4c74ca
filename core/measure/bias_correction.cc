// Mean errors out of biases; see bias_correction.h.
#include "core/measure/bias_correction.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

#include "absl/container/flat_hash_map.h"
#include "core/base/status.h"
#include "core/measure/layer_error.h"
#include "core/model/graph.h"
#include "core/statistics/calibration_samples.h"

namespace modelpress {
namespace {

// Where a layer's bias is, or can be put.
struct BiasSite {
  onnx::GraphProto* graph = nullptr;
  onnx::NodeProto* node = nullptr;
  int input = 2;
};

// Of Conv and Gemm the third input; of MatMul the constant summand of its only reader.
std::optional<BiasSite> SiteOf(const GraphIndex& index, onnx::GraphProto& graph,
                               onnx::NodeProto& node) {
  if (node.op_type() == "Conv") return BiasSite{&graph, &node, 2};
  if (node.op_type() == "Gemm") {
    // Otherwise the bias is not on the scale of the products.
    const bool plain =
        FloatAttribute(node, "alpha", 1) == 1 && FloatAttribute(node, "beta", 1) == 1;
    return plain ? std::optional(BiasSite{&graph, &node, 2}) : std::nullopt;
  }
  if (node.op_type() != "MatMul") return std::nullopt;
  const auto& uses = index.Uses(graph, node.output(0));
  if (uses.size() != 1 || index.IsGraphOutput(graph, node.output(0))) return std::nullopt;
  onnx::NodeProto* add = uses[0].node;
  if (add->op_type() != "Add" || !IsDefaultDomain(add->domain()) || add->input_size() != 2 ||
      uses[0].graph != &graph || index.Constant(graph, add->input(1 - uses[0].input)) == nullptr) {
    return std::nullopt;
  }
  return BiasSite{&graph, add, 1 - uses[0].input};
}

// One value for each of the channels on the last axis.
bool IsVector(const onnx::TensorProto& tensor, size_t channels) {
  if (Type(tensor) != DataType::kFloat || tensor.dims_size() == 0) return false;
  for (int i = 0; i + 1 < tensor.dims_size(); ++i) {
    if (tensor.dims(i) != 1) return false;
  }
  return tensor.dims(tensor.dims_size() - 1) == static_cast<int64_t>(channels);
}

// The DequantizeLinear that makes a bias for one reader only, in the same graph.
bool OwnDequantizer(const GraphIndex& index, const onnx::GraphProto& graph, const std::string& name,
                    onnx::NodeProto** dequantize) {
  onnx::NodeProto* node = index.Producer(graph, name);
  if (node == nullptr || node->op_type() != "DequantizeLinear" || node->input_size() < 2 ||
      index.DefiningGraph(graph, name) != &graph || index.Uses(graph, name).size() != 1) {
    return false;
  }
  *dequantize = node;
  return true;
}

// The codes of an int32 bias (zero point 0) after the shift; empty if it is something else.
absl::StatusOr<std::vector<int32_t>> ShiftCodes(const Model& model, const GraphIndex& index,
                                                const onnx::GraphProto& graph,
                                                const onnx::NodeProto& dequantize,
                                                std::span<const float> shift) {
  const onnx::TensorProto* tensor = index.Constant(graph, dequantize.input(0));
  const onnx::TensorProto* scale = index.Constant(graph, dequantize.input(1));
  if (tensor == nullptr || scale == nullptr || Type(*tensor) != DataType::kInt32 ||
      Type(*scale) != DataType::kFloat) {
    return std::vector<int32_t>();
  }
  MP_ASSIGN_OR_RETURN(const auto code_bytes, model.Bytes(*tensor));
  MP_ASSIGN_OR_RETURN(const auto scale_bytes, model.Bytes(*scale));
  const size_t scales = scale_bytes.size() / sizeof(float);
  if (code_bytes.size() != shift.size() * sizeof(int32_t) ||
      (scales != 1 && scales != shift.size())) {
    return std::vector<int32_t>();
  }
  std::vector<int32_t> codes(shift.size());
  for (size_t c = 0; c < codes.size(); ++c) {
    int32_t code;
    float s;
    std::memcpy(&code, code_bytes.data() + c * sizeof(code), sizeof(code));
    std::memcpy(&s, scale_bytes.data() + (scales == 1 ? 0 : c) * sizeof(s), sizeof(s));
    const double shifted = s > 0 ? std::nearbyint(code + static_cast<double>(shift[c]) / s) : code;
    codes[c] = static_cast<int32_t>(std::clamp(shifted, -2147483648.0, 2147483647.0));
  }
  return codes;
}

}  // namespace

absl::StatusOr<std::vector<BiasCorrection>> MeasureBiasCorrections(Model& quantized,
                                                                   const Model& reference,
                                                                   const Samples& samples,
                                                                   const JobContext& context) {
  std::vector<BiasCorrection> corrections;
  if (samples.batches() < 5) return corrections;
  const SamplePart fit = SamplePart::WithoutEvery(samples, 5);
  const SamplePart held_back = SamplePart::Every(samples, 5);
  MP_ASSIGN_OR_RETURN(const auto seen, MeasureLayerErrors(quantized, reference, fit, context));
  MP_ASSIGN_OR_RETURN(const auto held,
                      MeasureLayerErrors(quantized, reference, held_back, context));
  absl::flat_hash_map<std::string, const LayerError*> held_of;
  for (const LayerError& error : held) held_of.emplace(error.node, &error);
  for (const LayerError& error : seen) {
    const auto other = held_of.find(error.node);
    if (other == held_of.end() || other->second->mean.size() != error.mean.size()) continue;
    BiasCorrection& row = corrections.emplace_back();
    row.node = error.node;
    row.channels = error.mean.size();
    for (size_t c = 0; c < row.channels; ++c) {
      const double shift = error.mean[c], mean = other->second->mean[c];
      const bool keep = std::abs(mean - shift) < std::abs(mean);
      row.shift.push_back(keep ? static_cast<float>(shift) : 0.0f);
      row.kept += keep ? 1 : 0;
    }
  }
  return corrections;
}

absl::StatusOr<uint64_t> ShiftBiases(Model& model, const std::vector<BiasCorrection>& corrections,
                                     WeightArena& arena) {
  absl::flat_hash_map<std::string, const BiasCorrection*> wanted;
  for (const BiasCorrection& row : corrections) {
    if (row.kept > 0) wanted.emplace(row.node, &row);
  }
  UniqueNames names(model.proto());
  const GraphIndex index(model.mutable_proto());
  struct Shifted {
    BiasSite site;
    std::vector<int64_t> dims;
    std::vector<float> bias;
    // Of an integer bias: its DequantizeLinear, and the new codes.
    onnx::NodeProto* dequantize = nullptr;
    std::vector<int32_t> codes;
  };
  std::vector<Shifted> shifted;
  uint64_t channels = 0;
  absl::Status status;
  const auto visit = [&](onnx::GraphProto& graph, onnx::NodeProto& node) -> absl::Status {
    const auto found = wanted.find(node.name());
    if (found == wanted.end() || !IsDefaultDomain(node.domain())) return absl::OkStatus();
    const auto site = SiteOf(index, graph, node);
    if (!site.has_value()) return absl::OkStatus();
    Shifted next{*site, {}, found->second->shift};
    next.dims = {static_cast<int64_t>(next.bias.size())};
    if (site->node->input_size() > site->input && !site->node->input(site->input).empty()) {
      const std::string& name = site->node->input(site->input);
      const onnx::TensorProto* tensor = index.Constant(graph, name);
      if (tensor == nullptr && OwnDequantizer(index, graph, name, &next.dequantize)) {
        MP_ASSIGN_OR_RETURN(next.codes,
                            ShiftCodes(model, index, graph, *next.dequantize, next.bias));
        if (next.codes.empty()) return absl::OkStatus();
        channels += found->second->kept;
        shifted.push_back(std::move(next));
        return absl::OkStatus();
      }
      if (tensor == nullptr || !IsVector(*tensor, next.bias.size())) return absl::OkStatus();
      next.dims.assign(tensor->dims().begin(), tensor->dims().end());
      MP_ASSIGN_OR_RETURN(const auto bytes, model.Bytes(*tensor));
      for (size_t c = 0; c < next.bias.size(); ++c) {
        float value;
        std::memcpy(&value, bytes.data() + c * sizeof(float), sizeof(float));
        next.bias[c] += value;
      }
    }
    channels += found->second->kept;
    shifted.push_back(std::move(next));
    return absl::OkStatus();
  };
  ForEachGraph(model.mutable_proto(), [&](onnx::GraphProto& graph, int) {
    for (onnx::NodeProto& node : *graph.mutable_node()) {
      if (status.ok()) status = visit(graph, node);
    }
  });
  MP_RETURN_IF_ERROR(status);
  for (Shifted& next : shifted) {
    if (next.dequantize != nullptr) {
      onnx::TensorProto* tensor = next.site.graph->add_initializer();
      const std::string name = names.Make(next.dequantize->input(0) + "_corrected");
      tensor->set_name(name);
      MP_RETURN_IF_ERROR(model.SetBytes(tensor, DataType::kInt32, next.dims,
                                        std::as_bytes(std::span(next.codes)), arena));
      next.dequantize->set_input(0, name);
      continue;
    }
    onnx::NodeProto& node = *next.site.node;
    const bool had_bias =
        node.input_size() > next.site.input && !node.input(next.site.input).empty();
    const std::string name = names.Make(had_bias ? node.input(next.site.input) + "_corrected"
                                                 : node.output(0) + "_bias");
    onnx::TensorProto* tensor = next.site.graph->add_initializer();
    tensor->set_name(name);
    MP_RETURN_IF_ERROR(model.SetBytes(tensor, DataType::kFloat, next.dims,
                                      std::as_bytes(std::span(next.bias)), arena));
    while (node.input_size() <= next.site.input) node.add_input("");
    node.set_input(next.site.input, name);
  }
  RemoveDead(model.mutable_proto());
  return channels;
}

}  // namespace modelpress
