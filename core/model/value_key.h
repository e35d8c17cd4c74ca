// Naming values of a model across its subgraphs.
//
// A value's name alone is not enough: the two branches of an If may each define a "y".
#pragma once

#include <compare>
#include <functional>
#include <string>

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

}  // namespace modelpress
