// Topological order of every graph and function body: see SortTopologically in graph.h.
#include <algorithm>
#include <functional>
#include <queue>
#include <utility>
#include <vector>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/model/graph.h"

namespace modelpress {
namespace {

using NodeList = google::protobuf::RepeatedPtrField<onnx::NodeProto>;

using Names = absl::flat_hash_set<std::string_view>;

// Every name that the node reads from outside: its inputs, and what its subgraphs read and do not define themselves.
void CollectReads(const onnx::NodeProto& node, Names* reads) {
  for (const std::string& input : node.input()) {
    if (!input.empty()) reads->insert(input);
  }
  auto collect_graph = [&](const onnx::GraphProto& graph) {
    Names inner;
    for (const onnx::NodeProto& inner_node : graph.node()) CollectReads(inner_node, &inner);
    for (const onnx::ValueInfoProto& output : graph.output()) inner.insert(output.name());
    for (const onnx::NodeProto& inner_node : graph.node()) {
      for (const std::string& output : inner_node.output()) inner.erase(output);
    }
    for (const auto& input : graph.input()) inner.erase(input.name());
    for (const auto& tensor : graph.initializer()) inner.erase(tensor.name());
    for (const auto& sparse : graph.sparse_initializer()) inner.erase(sparse.values().name());
    reads->insert(inner.begin(), inner.end());
  };
  for (const onnx::AttributeProto& attribute : node.attribute()) {
    if (attribute.has_g()) collect_graph(attribute.g());
    for (const onnx::GraphProto& graph : attribute.graphs()) collect_graph(graph);
  }
}

// Kahn's algorithm; among the nodes that are ready the one that stood first is taken, so a valid order stays as it is.
absl::Status SortNodes(NodeList* nodes) {
  const int count = nodes->size();
  absl::flat_hash_map<std::string_view, int> producer;
  for (int i = 0; i < count; ++i) {
    for (const std::string& output : nodes->Get(i).output()) {
      if (!output.empty()) producer.emplace(output, i);
    }
  }
  std::vector<int> waiting_for(count, 0);
  std::vector<std::vector<int>> readers(count);
  bool sorted = true;
  Names reads;
  for (int i = 0; i < count; ++i) {
    reads.clear();
    CollectReads(nodes->Get(i), &reads);
    for (const std::string_view name : reads) {
      const auto found = producer.find(name);
      if (found == producer.end()) continue;
      sorted = sorted && found->second < i;
      readers[found->second].push_back(i);
      ++waiting_for[i];
    }
  }
  if (sorted) return absl::OkStatus();

  std::priority_queue<int, std::vector<int>, std::greater<int>> ready;
  for (int i = 0; i < count; ++i) {
    if (waiting_for[i] == 0) ready.push(i);
  }
  std::vector<onnx::NodeProto*> order;
  order.reserve(count);
  while (!ready.empty()) {
    const int index = ready.top();
    ready.pop();
    order.push_back(nodes->Mutable(index));
    for (const int reader : readers[index]) {
      if (--waiting_for[reader] == 0) ready.push(reader);
    }
  }
  if (static_cast<int>(order.size()) < count) {
    const auto stuck = std::find_if(waiting_for.begin(), waiting_for.end(),
                                    [](int waiting) { return waiting > 0; });
    const onnx::NodeProto& node = nodes->Get(static_cast<int>(stuck - waiting_for.begin()));
    return Error(ERROR_REASON_MODEL_MALFORMED,
                 FormatString("the graph has a cycle: node \"{}\" ({}) needs a value that depends "
                              "on its own output",
                              node.name(), node.op_type()))
        .Node(node.name())
        .Op(node.op_type())
        .Remedy("export the model again; ONNX graphs are acyclic (loops are Loop nodes)");
  }
  std::copy(order.begin(), order.end(), nodes->pointer_begin());
  return absl::OkStatus();
}

absl::Status SortAll(NodeList* nodes) {
  MP_RETURN_IF_ERROR(SortNodes(nodes));
  for (onnx::NodeProto& node : *nodes) {
    for (onnx::AttributeProto& attribute : *node.mutable_attribute()) {
      if (attribute.has_g()) MP_RETURN_IF_ERROR(SortAll(attribute.mutable_g()->mutable_node()));
      for (onnx::GraphProto& graph : *attribute.mutable_graphs()) {
        MP_RETURN_IF_ERROR(SortAll(graph.mutable_node()));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status SortTopologically(onnx::ModelProto& model) {
  MP_RETURN_IF_ERROR(SortAll(model.mutable_graph()->mutable_node()));
  for (onnx::FunctionProto& function : *model.mutable_functions()) {
    MP_RETURN_IF_ERROR(SortAll(function.mutable_node()));
  }
  return absl::OkStatus();
}

}  // namespace modelpress
