// Naming values of a model across its subgraphs.
//
// A value's name alone is not enough: the two branches of an If may each define a "y".
#pragma once

#include <compare>
#include <functional>
#include <optional>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "core/model/graph.h"
#include "core/model/model.h"

namespace modelpress {

// A value of the main graph or of a subgraph.
struct ValueKey {
  // "" is the main graph; a subgraph is its node's name (its first output where it has no name) and
  // the attribute that holds it, "if_node/then_branch", nested ones joined by '/'. Where two graphs
  // would have the same path, the later ones end in "#2", "#3", ...
  std::string graph;
  std::string value;

  friend auto operator<=>(const ValueKey&, const ValueKey&) = default;
};

// Calls visit(graph, path) for the main graph and every subgraph (functions excluded), parents
// first.
void ForEachNamedGraph(
    onnx::ModelProto& model,
    const std::function<void(onnx::GraphProto& graph, const std::string& path)>& visit);

// The paths of a model's graphs by graph. Valid as long as no graph is added or removed.
class GraphPaths {
 public:
  explicit GraphPaths(onnx::ModelProto& model);

  const std::string& Of(const onnx::GraphProto& graph) const { return paths_.at(&graph); }
  // The value `name` as seen from `scope`; nothing if no graph of the model defines it.
  std::optional<ValueKey> KeyOf(const GraphIndex& index, const onnx::GraphProto& scope,
                                const std::string& name) const;

 private:
  absl::flat_hash_map<const onnx::GraphProto*, std::string> paths_;
};

}  // namespace modelpress
