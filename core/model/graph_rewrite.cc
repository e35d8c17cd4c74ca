// Names and edges: UniqueNames, ReplaceAllUses, InsertBefore; see graph.h.
#include <algorithm>
#include <utility>

#include "core/model/graph.h"

namespace modelpress {
namespace {

bool Defines(const onnx::GraphProto& graph, std::string_view name) {
  auto named = [&](const auto& item) { return item.name() == name; };
  if (std::any_of(graph.input().begin(), graph.input().end(), named)) return true;
  if (std::any_of(graph.initializer().begin(), graph.initializer().end(), named)) return true;
  for (const auto& sparse : graph.sparse_initializer()) {
    if (sparse.values().name() == name) return true;
  }
  for (const onnx::NodeProto& node : graph.node()) {
    if (std::any_of(node.output().begin(), node.output().end(),
                    [&](const std::string& output) { return output == name; })) {
      return true;
    }
  }
  return false;
}

}  // namespace

UniqueNames::UniqueNames(const onnx::ModelProto& model) {
  auto add_nodes = [&](const auto& nodes) {
    for (const onnx::NodeProto& node : nodes) {
      used_.insert(node.name());
      used_.insert(node.input().begin(), node.input().end());
      used_.insert(node.output().begin(), node.output().end());
    }
  };
  ForEachGraph(model, [&](const onnx::GraphProto& graph, int) {
    for (const auto& value : graph.input()) used_.insert(value.name());
    for (const auto& value : graph.output()) used_.insert(value.name());
    for (const auto& value : graph.value_info()) used_.insert(value.name());
    for (const auto& tensor : graph.initializer()) used_.insert(tensor.name());
    for (const auto& sparse : graph.sparse_initializer()) used_.insert(sparse.values().name());
    add_nodes(graph.node());
  });
}

std::string UniqueNames::Make(std::string_view base) {
  std::string name(base);
  for (uint64_t suffix = 1; name.empty() || !used_.insert(name).second; ++suffix) {
    name = std::string(base) + "_" + std::to_string(suffix);
  }
  return name;
}

void ReplaceAllUses(onnx::GraphProto& graph, std::string_view from, std::string_view to) {
  for (onnx::ValueInfoProto& output : *graph.mutable_output()) {
    if (output.name() == from) output.set_name(std::string(to));
  }
  for (onnx::NodeProto& node : *graph.mutable_node()) {
    for (std::string& input : *node.mutable_input()) {
      if (input == from) input = to;
    }
    for (onnx::AttributeProto& attribute : *node.mutable_attribute()) {
      // A subgraph that defines the name itself hides ours.
      if (attribute.has_g() && !Defines(attribute.g(), from)) {
        ReplaceAllUses(*attribute.mutable_g(), from, to);
      }
      for (onnx::GraphProto& subgraph : *attribute.mutable_graphs()) {
        if (!Defines(subgraph, from)) ReplaceAllUses(subgraph, from, to);
      }
    }
  }
}

void InsertBefore(onnx::GraphProto& graph, int position, std::vector<onnx::NodeProto> nodes) {
  auto& list = *graph.mutable_node();
  const int old_size = list.size();
  for (onnx::NodeProto& node : nodes) *list.Add() = std::move(node);
  // Rotating the pointers keeps every NodeProto where it is in memory.
  std::rotate(list.pointer_begin() + position, list.pointer_begin() + old_size, list.pointer_end());
}

}  // namespace modelpress
