// Nodes and constants that a rewriting of weights adds to a model; see graph_additions.h.
#include "core/quant/graph_additions.h"

#include <algorithm>

#include "core/base/status.h"

namespace modelpress {

onnx::NodeProto& GraphAdditions::AddNode(onnx::GraphProto* graph, std::string_view op,
                                         std::initializer_list<std::string_view> inputs,
                                         std::string_view output) {
  auto place = std::ranges::find(added_, graph, [](const auto& entry) { return entry.first; });
  if (place == added_.end()) place = added_.insert(added_.end(), {graph, {}});
  onnx::NodeProto& node = place->second.emplace_back();
  node.set_op_type(std::string(op));
  for (const std::string_view input : inputs) node.add_input(std::string(input));
  node.add_output(std::string(output));
  node.set_name(names_.Make(std::string(output) + "_" + std::string(op)));
  return node;
}

std::string GraphAdditions::FloatsOf(DataType type, onnx::GraphProto* graph,
                                     const std::string& name) {
  if (type == DataType::kFloat) return name;
  std::string floats = names_.Make(name + "_float");
  SetAttribute(AddNode(graph, "Cast", {floats}, name), "to", static_cast<int64_t>(type));
  return floats;
}

absl::StatusOr<std::string> GraphAdditions::AddConstant(onnx::GraphProto* graph,
                                                        std::string_view base, DataType type,
                                                        std::span<const int64_t> dims,
                                                        const WeightRef& bytes) {
  onnx::TensorProto* tensor = graph->add_initializer();
  std::string name = names_.Make(base);
  tensor->set_name(name);
  MP_RETURN_IF_ERROR(model_.SetBytes(tensor, type, dims, bytes));
  return name;
}

absl::StatusOr<std::string> GraphAdditions::AddConstant(onnx::GraphProto* graph,
                                                        std::string_view base, DataType type,
                                                        std::span<const int64_t> dims,
                                                        std::span<const std::byte> bytes) {
  onnx::TensorProto* tensor = graph->add_initializer();
  std::string name = names_.Make(base);
  tensor->set_name(name);
  MP_RETURN_IF_ERROR(model_.SetBytes(tensor, type, dims, bytes, arena_));
  return name;
}

absl::Status GraphAdditions::ReplaceTensor(const CandidateWeight& weight, const std::string& name,
                                           DataType type, std::span<const int64_t> dims,
                                           const WeightRef& codes) {
  onnx::TensorProto* tensor = weight.tensor;
  if (weight.constant != nullptr) {
    // As an initializer it is one kind of weight less for everyone after us.
    tensor = weight.graph->add_initializer();
    constants_.insert(weight.constant->output(0));
    weight.constant->clear_attribute();  // recognised by Finish: a Constant without a value
  }
  tensor->set_name(name);
  return model_.SetBytes(tensor, type, dims, codes);
}

absl::Status GraphAdditions::Finish() {
  for (auto& [graph, nodes] : added_) {
    for (onnx::NodeProto& node : nodes) *graph->add_node() = std::move(node);
  }
  ForEachGraph(model_.mutable_proto(), [&](onnx::GraphProto& graph, int) {
    auto& nodes = *graph.mutable_node();
    nodes.erase(std::remove_if(nodes.begin(), nodes.end(),
                               [&](const onnx::NodeProto& node) {
                                 return IsConstantNode(node) && node.attribute_size() == 0 &&
                                        constants_.contains(node.output(0));
                               }),
                nodes.end());
  });
  return SortTopologically(model_.mutable_proto());
}

void SetAttribute(onnx::NodeProto& node, std::string_view name, int64_t value) {
  onnx::AttributeProto& attribute = *node.add_attribute();
  attribute.set_name(std::string(name));
  attribute.set_type(onnx::AttributeProto::INT);
  attribute.set_i(value);
}

}  // namespace modelpress
