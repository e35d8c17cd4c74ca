// Producers and readers of values with scopes resolved: see GraphIndex in graph.h.
#include <memory>
#include <utility>

#include "core/model/graph.h"

namespace modelpress {
namespace {

// Lookup by std::string_view; abseil's own hash of std::string takes absl::string_view only, a different type in
// distributions that build abseil for older standards.
struct NameHash {
  using is_transparent = void;
  size_t operator()(std::string_view name) const { return std::hash<std::string_view>()(name); }
};

}  // namespace

struct GraphIndex::Scope {
  struct Value {
    onnx::NodeProto* producer = nullptr;
    onnx::TensorProto* initializer = nullptr;
    bool is_input = false;
    bool is_output = false;
    std::vector<Use> uses;
  };

  onnx::GraphProto* graph = nullptr;
  std::shared_ptr<Scope> parent;
  // What this graph itself defines.
  absl::flat_hash_map<std::string, Value, NameHash, std::equal_to<>> values;
};

namespace {

std::vector<onnx::GraphProto*> Subgraphs(onnx::NodeProto& node) {
  std::vector<onnx::GraphProto*> graphs;
  for (onnx::AttributeProto& attribute : *node.mutable_attribute()) {
    if (attribute.has_g()) graphs.push_back(attribute.mutable_g());
    for (onnx::GraphProto& graph : *attribute.mutable_graphs()) graphs.push_back(&graph);
  }
  return graphs;
}

}  // namespace

GraphIndex::GraphIndex(onnx::ModelProto& model) {
  // Parents first, so that every use finds the scopes it may refer to.
  std::vector<std::shared_ptr<Scope>> order;
  auto define = [&](onnx::GraphProto& graph, std::shared_ptr<Scope> parent) {
    auto scope = std::make_shared<Scope>();
    scope->graph = &graph;
    scope->parent = std::move(parent);
    for (const auto& input : graph.input()) scope->values[input.name()].is_input = true;
    for (auto& tensor : *graph.mutable_initializer()) {
      scope->values[tensor.name()].initializer = &tensor;
    }
    for (const auto& sparse : graph.sparse_initializer()) scope->values[sparse.values().name()];
    for (auto& node : *graph.mutable_node()) {
      for (const std::string& output : node.output()) {
        if (!output.empty()) scope->values[output].producer = &node;
      }
    }
    scopes_[&graph] = scope;
    order.push_back(scope);
  };
  define(*model.mutable_graph(), nullptr);
  for (size_t i = 0; i < order.size(); ++i) {
    const std::shared_ptr<Scope> scope = order[i];
    for (onnx::NodeProto& node : *scope->graph->mutable_node()) {
      for (onnx::GraphProto* graph : Subgraphs(node)) define(*graph, scope);
    }
  }
  for (const std::shared_ptr<Scope>& scope : order) {
    auto find = [&](const std::string& name) -> Scope::Value* {
      for (Scope* at = scope.get(); at != nullptr; at = at->parent.get()) {
        if (auto found = at->values.find(name); found != at->values.end()) return &found->second;
      }
      return nullptr;
    };
    for (onnx::NodeProto& node : *scope->graph->mutable_node()) {
      for (int i = 0; i < node.input_size(); ++i) {
        if (node.input(i).empty()) continue;
        if (Scope::Value* value = find(node.input(i)); value != nullptr) {
          value->uses.push_back({scope->graph, &node, i});
        }
      }
    }
    for (const auto& output : scope->graph->output()) {
      if (Scope::Value* value = find(output.name()); value != nullptr) value->is_output = true;
    }
  }
}

const GraphIndex::Scope* GraphIndex::Find(const onnx::GraphProto& scope,
                                          std::string_view name) const {
  const auto found = scopes_.find(&scope);
  if (found == scopes_.end()) return nullptr;
  for (const Scope* at = found->second.get(); at != nullptr; at = at->parent.get()) {
    if (at->values.contains(name)) return at;
  }
  return nullptr;
}

const std::vector<Use>& GraphIndex::Uses(const onnx::GraphProto& scope,
                                         std::string_view name) const {
  static const std::vector<Use> none;
  const Scope* at = Find(scope, name);
  return at != nullptr ? at->values.find(name)->second.uses : none;
}

onnx::NodeProto* GraphIndex::Producer(const onnx::GraphProto& scope, std::string_view name) const {
  const Scope* at = Find(scope, name);
  return at != nullptr ? at->values.find(name)->second.producer : nullptr;
}

onnx::TensorProto* GraphIndex::Constant(const onnx::GraphProto& scope,
                                        std::string_view name) const {
  const Scope* at = Find(scope, name);
  if (at == nullptr) return nullptr;
  const Scope::Value& value = at->values.find(name)->second;
  if (value.initializer != nullptr) return value.is_input ? nullptr : value.initializer;
  if (value.producer == nullptr || !IsConstantNode(*value.producer)) return nullptr;
  for (onnx::AttributeProto& attribute : *value.producer->mutable_attribute()) {
    if (attribute.name() == "value" && attribute.has_t()) return attribute.mutable_t();
  }
  return nullptr;
}

onnx::GraphProto* GraphIndex::DefiningGraph(const onnx::GraphProto& scope,
                                            std::string_view name) const {
  const Scope* at = Find(scope, name);
  return at != nullptr ? at->graph : nullptr;
}

bool GraphIndex::IsGraphOutput(const onnx::GraphProto& scope, std::string_view name) const {
  const Scope* at = Find(scope, name);
  return at != nullptr && at->values.find(name)->second.is_output;
}

onnx::GraphProto* GraphIndex::Parent(const onnx::GraphProto& scope) const {
  const auto found = scopes_.find(&scope);
  if (found == scopes_.end() || found->second->parent == nullptr) return nullptr;
  return found->second->parent->graph;
}

}  // namespace modelpress
