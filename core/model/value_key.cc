// Paths of subgraphs; see value_key.h.
#include "core/model/value_key.h"

#include <map>

namespace modelpress {
namespace {

class Walk {
 public:
  explicit Walk(const std::function<void(onnx::GraphProto&, const std::string&)>& visit)
      : visit_(visit) {}

  void Visit(onnx::GraphProto& graph, const std::string& path) {
    visit_(graph, path);
    for (onnx::NodeProto& node : *graph.mutable_node()) {
      for (onnx::AttributeProto& attribute : *node.mutable_attribute()) {
        if (attribute.has_g()) Descend(*attribute.mutable_g(), path, node, attribute.name());
        for (onnx::GraphProto& inner : *attribute.mutable_graphs()) {
          Descend(inner, path, node, attribute.name());
        }
      }
    }
  }

 private:
  void Descend(onnx::GraphProto& graph, const std::string& parent, const onnx::NodeProto& node,
               const std::string& attribute) {
    std::string path = parent.empty() ? "" : parent + "/";
    path += node.name().empty() && node.output_size() > 0 ? node.output(0) : node.name();
    path += "/" + attribute;
    if (const int count = ++seen_[path]; count > 1) path += "#" + std::to_string(count);
    Visit(graph, path);
  }

  const std::function<void(onnx::GraphProto&, const std::string&)>& visit_;
  std::map<std::string, int> seen_;
};

}  // namespace

void ForEachNamedGraph(
    onnx::ModelProto& model,
    const std::function<void(onnx::GraphProto& graph, const std::string& path)>& visit) {
  Walk(visit).Visit(*model.mutable_graph(), "");
}

GraphPaths::GraphPaths(onnx::ModelProto& model) {
  ForEachNamedGraph(model, [&](onnx::GraphProto& graph, const std::string& path) {
    paths_.emplace(&graph, path);
  });
}

std::optional<ValueKey> GraphPaths::KeyOf(const GraphIndex& index, const onnx::GraphProto& scope,
                                          const std::string& name) const {
  const auto found = paths_.find(index.DefiningGraph(scope, name));
  if (found == paths_.end()) return std::nullopt;
  return ValueKey{found->second, name};
}

}  // namespace modelpress
