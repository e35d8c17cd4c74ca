// Removing what nobody reads: see RemoveDead in graph.h.
//
// One marking from the outputs backwards finds everything that is needed, so nothing has to be repeated "until nothing
// changes". A subgraph counts as needed with its node, and then its own outputs are.
#include <algorithm>
#include <utility>
#include <vector>

#include "core/model/graph.h"

namespace modelpress {
namespace {

using NodeList = google::protobuf::RepeatedPtrField<onnx::NodeProto>;

struct Body {
  NodeList* nodes = nullptr;
  onnx::GraphProto* graph = nullptr;  // null for a function
  int parent = -1;
  absl::flat_hash_map<std::string_view, int> producer;
  // Names defined here that are not made by nodes.
  absl::flat_hash_set<std::string_view> leaves;
  absl::flat_hash_set<std::string_view> read;
  std::vector<bool> live;
};

class Sweeper {
 public:
  explicit Sweeper(onnx::ModelProto& model) {
    onnx::GraphProto& graph = *model.mutable_graph();
    AddGraph(graph, -1);
    for (const auto& output : graph.output()) Read(0, output.name());
    for (onnx::FunctionProto& function : *model.mutable_functions()) {
      const int index = AddBody(function.mutable_node(), nullptr, -1);
      for (const std::string& output : function.output()) Read(index, output);
    }
  }

  int Sweep() {
    Mark();
    int removed = 0;
    // Children after parents: a removed node takes its subgraphs along, so go from the innermost out.
    for (size_t i = bodies_.size(); i-- > 0;) removed += SweepBody(bodies_[i]);
    return removed;
  }

 private:
  int AddBody(NodeList* nodes, onnx::GraphProto* graph, int parent) {
    const int index = static_cast<int>(bodies_.size());
    bodies_.emplace_back();
    Body& body = bodies_.back();
    body.nodes = nodes;
    body.graph = graph;
    body.parent = parent;
    body.live.assign(nodes->size(), false);
    for (int i = 0; i < nodes->size(); ++i) {
      for (const std::string& output : nodes->Get(i).output()) {
        if (!output.empty()) body.producer.emplace(output, i);
      }
    }
    return index;
  }

  int AddGraph(onnx::GraphProto& graph, int parent) {
    const int index = AddBody(graph.mutable_node(), &graph, parent);
    Body& body = bodies_[index];
    for (const auto& input : graph.input()) body.leaves.insert(input.name());
    for (const auto& tensor : graph.initializer()) body.leaves.insert(tensor.name());
    for (const auto& sparse : graph.sparse_initializer()) {
      body.leaves.insert(sparse.values().name());
    }
    return index;
  }

  void Read(int body, std::string_view name) { pending_.emplace_back(body, name); }

  void Mark() {
    while (!pending_.empty()) {
      auto [index, name] = pending_.back();
      pending_.pop_back();
      while (index >= 0 && !bodies_[index].producer.contains(name) &&
             !bodies_[index].leaves.contains(name)) {
        index = bodies_[index].parent;
      }
      if (index < 0 || !bodies_[index].read.insert(name).second) continue;
      const auto made = bodies_[index].producer.find(name);
      if (made != bodies_[index].producer.end()) MarkNode(index, made->second);
    }
  }

  void MarkNode(int index, int position) {
    if (bodies_[index].live[position]) return;
    bodies_[index].live[position] = true;
    onnx::NodeProto& node = *bodies_[index].nodes->Mutable(position);
    for (const std::string& input : node.input()) {
      if (!input.empty()) Read(index, input);
    }
    auto enter = [&](onnx::GraphProto& graph) {
      const int inner = AddGraph(graph, index);
      for (const auto& output : graph.output()) Read(inner, output.name());
    };
    for (onnx::AttributeProto& attribute : *node.mutable_attribute()) {
      if (attribute.has_g()) enter(*attribute.mutable_g());
      for (onnx::GraphProto& graph : *attribute.mutable_graphs()) enter(graph);
    }
  }

  // Keeps the elements for which `keep` holds, in order; returns how many went.
  template <typename List, typename Keep>
  static int Filter(List* list, const Keep& keep) {
    int kept = 0;
    for (int i = 0; i < list->size(); ++i) {
      if (keep(i)) list->SwapElements(kept++, i);
    }
    const int removed = list->size() - kept;
    list->DeleteSubrange(kept, removed);
    return removed;
  }

  static int SweepBody(Body& body) {
    // Names are views into the lists that are filtered: own them first.
    absl::flat_hash_set<std::string> read(body.read.begin(), body.read.end());
    int removed = Filter(body.nodes, [&](int i) { return static_cast<bool>(body.live[i]); });
    if (body.graph == nullptr) return removed;
    onnx::GraphProto& graph = *body.graph;
    absl::flat_hash_set<std::string> inputs;
    for (const auto& input : graph.input()) inputs.insert(input.name());
    auto* initializers = graph.mutable_initializer();
    // An initializer behind an input is that input's default value: without it callers would have to feed it.
    removed += Filter(initializers, [&](int i) {
      return read.contains(initializers->Get(i).name()) ||
             inputs.contains(initializers->Get(i).name());
    });
    auto* sparse = graph.mutable_sparse_initializer();
    removed += Filter(sparse, [&](int i) { return read.contains(sparse->Get(i).values().name()); });
    auto* infos = graph.mutable_value_info();
    Filter(infos, [&](int i) { return read.contains(infos->Get(i).name()); });
    auto* annotations = graph.mutable_quantization_annotation();
    Filter(annotations, [&](int i) {
      return read.contains(annotations->Get(i).tensor_name()) ||
             inputs.contains(annotations->Get(i).tensor_name());
    });
    return removed;
  }

  // A deque would do, but indices into a vector survive its growth as well.
  std::vector<Body> bodies_;
  std::vector<std::pair<int, std::string_view>> pending_;
};

}  // namespace

int RemoveDead(onnx::ModelProto& model) { return Sweeper(model).Sweep(); }

}  // namespace modelpress
