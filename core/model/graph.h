// Walking and rewriting graphs, subgraphs (If, Loop, Scan bodies) and functions included. What several passes need of a
// graph is here, once.
//
// A value's name is visible in its graph and in every subgraph below it (outer-scope references). Functions see only
// their own inputs. Everything here is O(nodes) unless said, and not thread-safe against changes.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "core/model/model.h"

namespace modelpress {

// Calls visit(graph, depth) for the main graph and every subgraph, parents first.
void ForEachGraph(onnx::ModelProto& model,
                  const std::function<void(onnx::GraphProto&, int depth)>& visit);
void ForEachGraph(const onnx::ModelProto& model,
                  const std::function<void(const onnx::GraphProto&, int depth)>& visit);

// A tensor and where it stands.
struct TensorSite {
  onnx::TensorProto* tensor = nullptr;
  // The graph that holds it; null for tensors inside functions.
  onnx::GraphProto* graph = nullptr;
  // The node whose attribute it is (Constant and others); null for initializers.
  onnx::NodeProto* node = nullptr;
  // The value name under which consumers read it: the initializer's name, or a Constant node's output; empty for
  // attributes of other nodes.
  std::string value_name;
};

// Every TensorProto of the model that holds data: initializers, attribute tensors, in graphs, subgraphs and functions.
void ForEachTensor(onnx::ModelProto& model, const std::function<void(const TensorSite&)>& visit);
void ForEachTensor(const onnx::ModelProto& model,
                   const std::function<void(const onnx::TensorProto&)>& visit);

// One reading of a value.
struct Use {
  onnx::GraphProto* graph = nullptr;
  onnx::NodeProto* node = nullptr;
  int input = -1;
};

// Who makes and who reads each value of the whole model, scopes resolved. Pointers are into the model and become
// invalid when nodes are added or removed: build it again.
class GraphIndex {
 public:
  explicit GraphIndex(onnx::ModelProto& model);

  // Readings of value `name` as defined in `scope`, in that graph and in all subgraphs below, outer-scope readings
  // included. Graph outputs are not uses; see IsGraphOutput.
  const std::vector<Use>& Uses(const onnx::GraphProto& scope, std::string_view name) const;
  // The node that makes `name` as seen from `scope`; null for inputs and initializers.
  onnx::NodeProto* Producer(const onnx::GraphProto& scope, std::string_view name) const;
  // The tensor behind `name` as seen from `scope`: initializer or Constant node's value; null otherwise. An initializer
  // that is also a graph input (it may be overridden) gives null.
  onnx::TensorProto* Constant(const onnx::GraphProto& scope, std::string_view name) const;
  // The graph in which `name` seen from `scope` is defined; null if nowhere.
  onnx::GraphProto* DefiningGraph(const onnx::GraphProto& scope, std::string_view name) const;
  bool IsGraphOutput(const onnx::GraphProto& scope, std::string_view name) const;
  // The graph around `scope`, null for the main graph.
  onnx::GraphProto* Parent(const onnx::GraphProto& scope) const;

 private:
  struct Scope;
  const Scope* Find(const onnx::GraphProto& scope, std::string_view name) const;

  absl::flat_hash_map<const onnx::GraphProto*, std::shared_ptr<Scope>> scopes_;
};

// Makes names that nothing in the whole model uses: "base", "base_1", ... Deterministic.
class UniqueNames {
 public:
  explicit UniqueNames(const onnx::ModelProto& model);
  std::string Make(std::string_view base);

 private:
  absl::flat_hash_set<std::string> used_;
};

// Every reading of `from` as defined in `graph` (outer-scope readings below and graph outputs included) becomes `to`.
void ReplaceAllUses(onnx::GraphProto& graph, std::string_view from, std::string_view to);
// Removes nodes whose outputs nobody reads, and initializers and value_info that nobody reads, until nothing changes.
// Nodes with subgraphs are removed like any other; graph outputs are kept. Returns how many nodes and tensors went.
int RemoveDead(onnx::ModelProto& model);
// Nodes in an order in which every value is made before it is read (stable: keeps the present order where it is
// valid), in every graph. MODEL_MALFORMED with a node of the cycle.
absl::Status SortTopologically(onnx::ModelProto& model);
// Adds `nodes` to the graph so that each stands before the first reader of its outputs.
void InsertBefore(onnx::GraphProto& graph, int position, std::vector<onnx::NodeProto> nodes);

// Names of values (per graph) that feed shape arithmetic: inputs such as Reshape's shape and everything constant they
// are computed from. Their tensors must stay inline: the runtime refuses them as external data.
absl::flat_hash_set<const onnx::TensorProto*> ShapeTensors(const onnx::ModelProto& model);

// "" and "ai.onnx" are the same domain.
bool IsDefaultDomain(std::string_view domain);
// A well-formed Constant node of the default domain.
bool IsConstantNode(const onnx::NodeProto& node);

// The node's name for people: its own, or its first output's where it has none.
std::string NodeName(const onnx::NodeProto& node);

// Attribute access.
const onnx::AttributeProto* FindAttribute(const onnx::NodeProto& node, std::string_view name);
int64_t IntAttribute(const onnx::NodeProto& node, std::string_view name, int64_t fallback);
float FloatAttribute(const onnx::NodeProto& node, std::string_view name, float fallback);

}  // namespace modelpress
