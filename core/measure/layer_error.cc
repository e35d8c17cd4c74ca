// Quantized twins beside the layers of a float model; see layer_error.h.
#include "core/measure/layer_error.h"

#include <algorithm>
#include <limits>

#include "absl/container/flat_hash_map.h"
#include "core/base/status.h"
#include "core/model/graph.h"
#include "core/model/value_key.h"
#include "core/statistics/statistics.h"

namespace modelpress {
namespace {

bool IsLayer(const onnx::NodeProto& node) {
  return IsDefaultDomain(node.domain()) && node.input_size() >= 2 && node.output_size() >= 1 &&
         (node.op_type() == "Conv" || node.op_type() == "Gemm" || node.op_type() == "MatMul");
}

// Puts, beside layers of the float model, their quantized twins and the differences of their
// outputs.
class TwinGraph {
 public:
  TwinGraph(Model& quantized, const Model& reference)
      : quantized_(quantized),
        index_(quantized.mutable_proto()),
        model_(reference.Clone()),
        names_(model_.proto()) {}

  struct Layer {
    std::string node;
    StatisticRequest output, difference;
  };

  absl::Status Build() {
    absl::flat_hash_map<std::string, Site> coded;
    ForEachGraph(quantized_.mutable_proto(), [&](onnx::GraphProto& graph, int) {
      for (onnx::NodeProto& node : *graph.mutable_node()) {
        if (IsLayer(node)) coded.emplace(node.name(), Site{&graph, &node});
      }
    });
    std::vector<std::pair<onnx::GraphProto*, std::vector<onnx::NodeProto>>> added;
    absl::Status status;
    ForEachNamedGraph(model_.mutable_proto(),
                      [&](onnx::GraphProto& graph, const std::string& path) {
                        std::vector<onnx::NodeProto> nodes;
                        for (const onnx::NodeProto& node : graph.node()) {
                          const auto twin = IsLayer(node) ? coded.find(node.name()) : coded.end();
                          if (twin == coded.end() || twin->second.node->op_type() != node.op_type())
                            continue;
                          if (status.ok())
                            status = AddTwin(graph, path, node, twin->second, &nodes);
                        }
                        if (!nodes.empty()) added.emplace_back(&graph, std::move(nodes));
                      });
    MP_RETURN_IF_ERROR(status);
    // 16-bit grids may bring a domain of their own.
    for (const auto& import : quantized_.proto().opset_import()) {
      const auto same = [&](const auto& other) { return other.domain() == import.domain(); };
      if (std::ranges::any_of(model_.proto().opset_import(), same)) continue;
      *model_.mutable_proto().add_opset_import() = import;
    }
    for (auto& [graph, nodes] : added) {
      for (onnx::NodeProto& node : nodes) *graph->add_node() = std::move(node);
    }
    return SortTopologically(model_.mutable_proto());
  }

  const Model& model() const { return model_; }
  const std::vector<Layer>& layers() const { return layers_; }

 private:
  struct Site {
    onnx::GraphProto* graph;
    onnx::NodeProto* node;
  };

  // A constant of the quantized model, copied; its new name.
  absl::StatusOr<std::string> Copy(const onnx::GraphProto& from, const std::string& name,
                                   onnx::GraphProto& to) {
    const onnx::TensorProto* tensor = index_.Constant(from, name);
    if (tensor == nullptr) {
      return Error(ERROR_REASON_INTERNAL_BUG, "a quantized layer's constant is missing")
          .Tensor(name);
    }
    onnx::TensorProto* copy = to.add_initializer();
    std::string made = names_.Make(name + "_of_twin");
    copy->set_name(made);
    const auto type = static_cast<DataType>(tensor->data_type());
    const std::vector<int64_t> dims(tensor->dims().begin(), tensor->dims().end());
    if (const WeightRef* weight = quantized_.Weight(*tensor); weight != nullptr) {
      MP_RETURN_IF_ERROR(model_.SetWeight(copy, type, dims, *weight));
    } else {
      MP_ASSIGN_OR_RETURN(const auto bytes, quantized_.Bytes(*tensor));
      MP_RETURN_IF_ERROR(model_.SetInline(copy, type, dims, bytes));
    }
    return made;
  }

  // The same operator with inputs copied to where they are new, and one new output.
  onnx::NodeProto Like(const onnx::NodeProto& node, const std::vector<std::string>& inputs) {
    onnx::NodeProto made = node;
    made.clear_input();
    for (const std::string& input : inputs) made.add_input(input);
    made.clear_output();
    made.add_output(names_.Make("twin"));
    made.set_name(names_.Make(node.name() + "_twin"));
    return made;
  }

  // The DequantizeLinear behind an input of a coded layer, if its scale is a constant.
  const onnx::NodeProto* Dequantizer(const Site& coded, int input) const {
    const onnx::NodeProto* node = index_.Producer(*coded.graph, coded.node->input(input));
    if (node == nullptr || node->op_type() != "DequantizeLinear" || node->input_size() < 2 ||
        index_.Constant(*coded.graph, node->input(1)) == nullptr) {
      return nullptr;
    }
    return node;
  }

  absl::Status AddTwin(onnx::GraphProto& graph, const std::string& path,
                       const onnx::NodeProto& node, const Site& coded,
                       std::vector<onnx::NodeProto>* nodes) {
    std::vector<std::string> inputs(node.input().begin(), node.input().end());
    bool any = false;
    for (const int i : {0, 1}) {
      const onnx::NodeProto* dequantize = Dequantizer(coded, i);
      if (dequantize == nullptr) continue;
      any = true;
      std::vector<std::string> parameters;
      for (int k = 1; k < dequantize->input_size(); ++k) {
        MP_ASSIGN_OR_RETURN(std::string name, Copy(*coded.graph, dequantize->input(k), graph));
        parameters.push_back(std::move(name));
      }
      std::string codes;
      if (index_.Constant(*coded.graph, dequantize->input(0)) != nullptr) {
        MP_ASSIGN_OR_RETURN(codes, Copy(*coded.graph, dequantize->input(0), graph));
      } else {
        std::vector<std::string> from = {node.input(i)};
        from.insert(from.end(), parameters.begin(), parameters.end());
        onnx::NodeProto quantize = Like(*dequantize, from);
        quantize.set_op_type("QuantizeLinear");
        codes = quantize.output(0);
        nodes->push_back(std::move(quantize));
      }
      parameters.insert(parameters.begin(), codes);
      nodes->push_back(Like(*dequantize, parameters));
      inputs[i] = nodes->back().output(0);
    }
    if (!any) return absl::OkStatus();
    nodes->push_back(Like(node, inputs));
    onnx::NodeProto difference;
    difference.set_op_type("Sub");
    difference.add_input(node.output(0));
    difference.add_input(nodes->back().output(0));
    difference.add_output(names_.Make(node.output(0) + "_error"));
    difference.set_name(names_.Make(node.name() + "_error"));
    const int64_t axis = node.op_type() == "MatMul" ? -1 : 1;
    layers_.push_back({node.name(),
                       {.key = {path, node.output(0)}, .channel_axis = axis},
                       {.key = {path, difference.output(0)}, .channel_axis = axis}});
    nodes->push_back(std::move(difference));
    return absl::OkStatus();
  }

  Model& quantized_;
  GraphIndex index_;
  Model model_;
  UniqueNames names_;
  std::vector<Layer> layers_;
};

double Mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

}  // namespace

double LayerError::relative() const {
  if (noise <= 0) return 0;
  return signal > 0 ? noise / signal : std::numeric_limits<double>::infinity();
}

absl::StatusOr<std::vector<LayerError>> MeasureLayerErrors(Model& quantized, const Model& reference,
                                                           const Samples& samples,
                                                           const JobContext& context) {
  TwinGraph twins(quantized, reference);
  MP_RETURN_IF_ERROR(twins.Build());
  std::vector<LayerError> errors;
  if (twins.layers().empty() || samples.batches() == 0) return errors;
  std::vector<StatisticRequest> requests;
  for (const auto& layer : twins.layers()) {
    requests.push_back(layer.output);
    requests.push_back(layer.difference);
  }
  MP_ASSIGN_OR_RETURN(const Statistics seen,
                      GatherStatistics(twins.model(), samples, requests, context, nullptr));
  for (const auto& layer : twins.layers()) {
    const ValueStatistics* output = seen.FindRequest(layer.output);
    const ValueStatistics* difference = seen.FindRequest(layer.difference);
    if (output == nullptr || difference == nullptr || !output->channels || !difference->channels) {
      continue;
    }
    errors.push_back({.node = layer.node,
                      .signal = Mean(output->channels->mean_square),
                      .noise = Mean(difference->channels->mean_square),
                      .mean = difference->channels->mean});
  }
  return errors;
}

}  // namespace modelpress
