// Where activations are codes; see qdq_flow.h.
#include "core/quant/qdq_flow.h"

#include <algorithm>
#include <cstring>
#include <limits>

namespace modelpress {
namespace {

bool Among(std::string_view value, std::initializer_list<std::string_view> list) {
  return std::ranges::find(list, value) != list.end();
}

std::string StringAttribute(const onnx::NodeProto& node, std::string_view name) {
  const onnx::AttributeProto* attribute = FindAttribute(node, name);
  return attribute != nullptr ? attribute->s() : "";
}

// Operators that move values and change none, with kernels for 8-bit types: the runtime drops the
// pair around them where both sides have the same grid.
bool MovesValues(const onnx::NodeProto& node, int64_t opset) {
  const std::string& op = node.op_type();
  if (Among(op, {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten"})) return true;
  if (op == "MaxPool") return opset >= 12 && node.output_size() == 1;
  if (op == "Resize") {
    const std::string mode = StringAttribute(node, "mode");
    return opset >= 11 && (mode.empty() || mode == "nearest");
  }
  return false;
}

// Operators that the runtime computes from codes to codes of another grid.
bool ComputesFromCodes(const onnx::NodeProto& node) {
  return Among(node.op_type(), {"Add", "Mul", "Concat", "AveragePool", "GlobalAveragePool",
                                "Sigmoid", "LeakyRelu"}) ||
         IsClippingToUnit(node);
}

}  // namespace

bool IsClippingToUnit(const onnx::NodeProto& node) {
  const float alpha = FloatAttribute(node, "alpha", 0.2f),
              beta = FloatAttribute(node, "beta", 0.5f);
  return node.op_type() == "HardSigmoid" && alpha > 0 && beta >= 0 && beta <= 1;
}

QdqFlow::QdqFlow(Model& model, const GraphIndex& index, const std::vector<QdqLayer>& layers,
                 const std::vector<bool>& active, bool symmetric)
    : model_(model), index_(index), symmetric_(symmetric), paths_(model.mutable_proto()) {
  ForEachNamedGraph(model.mutable_proto(), [&](onnx::GraphProto& graph, const std::string& path) {
    graphs_.emplace(path, &graph);
  });
  FindWanted(layers, active);
  std::map<ValueKey, const QdqLayer*> quantizing;
  for (size_t i = 0; i < layers.size(); ++i) {
    if (active[i] && layers[i].quantizes_output) quantizing.emplace(layers[i].key, &layers[i]);
  }
  ForEachNamedGraph(model.mutable_proto(), [&](onnx::GraphProto& graph, const std::string& path) {
    for (const onnx::NodeProto& node : graph.node()) {
      if (!IsDefaultDomain(node.domain()) || node.output_size() == 0) continue;
      if (quantizing.contains({path, node.output(0)})) {
        const ValueKey key = {path, BehindActivation(graph, node.output(0))};
        Store(key, key);
      } else {
        Propagate(graph, node);
      }
    }
  });
}

ValueKey QdqFlow::KeyOf(const onnx::GraphProto& scope, const std::string& name) const {
  return paths_.KeyOf(index_, scope, name).value_or(ValueKey{"", name});
}

// The value behind Relus and Clips that clip no further than a grid of what they give.
std::string QdqFlow::BehindActivation(const onnx::GraphProto& graph, std::string name) const {
  if (symmetric_) return name;
  const std::vector<Use>& uses = index_.Uses(graph, name);
  if (uses.size() != 1 || index_.IsGraphOutput(graph, name) || uses[0].graph != &graph) return name;
  const onnx::NodeProto& node = *uses[0].node;
  if (!IsDefaultDomain(node.domain()) || uses[0].input != 0) return name;
  if (node.op_type() == "Relu") return node.output(0);
  if (node.op_type() != "Clip") return name;
  double low = FloatAttribute(node, "min", -std::numeric_limits<float>::infinity());
  if (node.input_size() > 1 && !node.input(1).empty()) {
    const onnx::TensorProto* tensor = index_.Constant(graph, node.input(1));
    const auto bytes = tensor != nullptr ? model_.Bytes(*tensor) : absl::NotFoundError("");
    if (!bytes.ok() || bytes->size() != sizeof(float)) return name;
    float value = 0;
    std::memcpy(&value, bytes->data(), sizeof(value));
    low = value;
  }
  // A grid holds 0; below the bound it would have codes that the Clip does not let through.
  return low <= 0 ? node.output(0) : name;
}

void QdqFlow::FindWanted(const std::vector<QdqLayer>& layers, const std::vector<bool>& active) {
  for (size_t i = 0; i < layers.size(); ++i) {
    const onnx::NodeProto* node = active[i] ? Node(layers[i].key) : nullptr;
    if (node == nullptr) continue;
    for (const int input : layers[i].activations) {
      wanted_[KeyOf(*Graph(layers[i].key.graph), node->input(input))] = true;
    }
  }
  for (const auto& [path, graph] : graphs_) {
    for (int i = graph->node_size() - 1; i >= 0; --i) {
      const onnx::NodeProto& node = graph->node(i);
      if (!IsDefaultDomain(node.domain()) || node.output_size() == 0) continue;
      if (!MovesValues(node, model_.opset()) && !ComputesFromCodes(node)) continue;
      if (!wanted_.contains({path, node.output(0)})) continue;
      // It stays float then (see Propagate), and codes before it would only round once more.
      if (!MovesValues(node, model_.opset()) && ReadsConstant(*graph, node)) continue;
      const int inputs = MovesValues(node, model_.opset()) ? 1 : node.input_size();
      for (int j = 0; j < inputs; ++j) wanted_[KeyOf(*graph, node.input(j))] = true;
    }
  }
}

bool QdqFlow::ReadsConstant(const onnx::GraphProto& graph, const onnx::NodeProto& node) const {
  return std::ranges::any_of(node.input(), [&](const std::string& name) {
    return index_.Constant(graph, name) != nullptr;
  });
}

void QdqFlow::Store(const ValueKey& value, const ValueKey& grid) {
  if (stored_.emplace(value, grid).second) order_.emplace_back(value, grid);
}

void QdqFlow::Propagate(const onnx::GraphProto& graph, const onnx::NodeProto& node) {
  const ValueKey output = {paths_.Of(graph), node.output(0)};
  if (!wanted_.contains(output)) return;
  const auto stored = [&](int input) {
    return stored_.contains(KeyOf(graph, node.input(input))) &&
           index_.DefiningGraph(graph, node.input(input)) == &graph;
  };
  if (MovesValues(node, model_.opset())) {
    if (stored(0)) Store(output, stored_.at(KeyOf(graph, node.input(0))));
    return;
  }
  if (!ComputesFromCodes(node)) return;
  // It clips by where the grid ends, which is not where a symmetric one does.
  if (symmetric_ && IsClippingToUnit(node)) return;
  for (int i = 0; i < node.input_size(); ++i) {
    if (!stored(i)) return;
  }
  Store(output, output);
}

QdqFlow::Reading QdqFlow::Read(const QdqLayer& layer, int input) const {
  const onnx::GraphProto& graph = *Graph(layer.key.graph);
  const ValueKey key = KeyOf(graph, Node(layer.key)->input(input));
  const auto found = stored_.find(key);
  if (found == stored_.end()) return {key, key, false};
  return {key, found->second, true};
}

ValueKey QdqFlow::Output(const QdqLayer& layer) const {
  return {layer.key.graph, BehindActivation(*Graph(layer.key.graph), layer.key.value)};
}

onnx::GraphProto* QdqFlow::Graph(const std::string& path) const {
  const auto found = graphs_.find(path);
  return found == graphs_.end() ? nullptr : found->second;
}

onnx::NodeProto* QdqFlow::Node(const ValueKey& output) const {
  const onnx::GraphProto* graph = Graph(output.graph);
  return graph == nullptr ? nullptr : index_.Producer(*graph, output.value);
}

}  // namespace modelpress
