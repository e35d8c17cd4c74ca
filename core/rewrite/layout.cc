// Choosing the layout of a model: see layout.h.
#include "core/rewrite/layout.h"

#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status.h"
#include "core/rewrite/layout_graph.h"
#include "core/rewrite/layout_rewrite.h"
#include "core/rewrite/turn_constant.h"
#include "core/rewrite/value_shapes.h"

namespace modelpress {
namespace {

// What graphs share.
struct Shared {
  Shared(Model* model, WeightArena* arena) : names(model->proto()), turner(model, arena, &names) {}

  UniqueNames names;
  ConstantTurner turner;
};

// Subgraphs of the nodes of a graph.
std::vector<onnx::GraphProto*> SubgraphsOf(onnx::GraphProto& graph) {
  std::vector<onnx::GraphProto*> found;
  for (onnx::NodeProto& node : *graph.mutable_node()) {
    for (onnx::AttributeProto& attribute : *node.mutable_attribute()) {
      if (attribute.has_g()) found.push_back(attribute.mutable_g());
    }
  }
  return found;
}

using AllShapes = absl::flat_hash_map<const onnx::GraphProto*, GraphShapes>;

// Inner graphs first: rewriting a graph moves its nodes, and with them their subgraphs, to other addresses.
absl::Status RunGraph(Shared& shared, const AllShapes& shapes, onnx::GraphProto* graph,
                      const std::vector<const GraphShapes*>& outer) {
  std::vector<const GraphShapes*> scopes = {&shapes.at(graph)};
  scopes.insert(scopes.end(), outer.begin(), outer.end());
  for (onnx::GraphProto* inner : SubgraphsOf(*graph))
    MP_RETURN_IF_ERROR(RunGraph(shared, shapes, inner, scopes));
  LayoutGraph layout(*graph, shared.turner, scopes);
  layout.Choose();
  return RewriteLayout(layout, &shared.turner, &shared.names, graph);
}

}  // namespace

std::vector<std::string> TransposeNotes(const Model& model) {
  constexpr size_t kMost = 2000;
  std::vector<std::string> notes;
  size_t left = 0;
  ForEachGraph(model.proto(), [&](const onnx::GraphProto& graph, int) {
    absl::flat_hash_map<std::string_view, const onnx::NodeProto*> makers, readers;
    for (const onnx::NodeProto& node : graph.node()) {
      for (const std::string& output : node.output()) makers[output] = &node;
      for (const std::string& input : node.input()) readers.try_emplace(input, &node);
    }
    const auto side = [](const auto& nodes, const std::string& value, const char* otherwise) {
      const auto found = nodes.find(value);
      return found == nodes.end()
                 ? absl::StrCat(otherwise, " \"", value, "\"")
                 : absl::StrCat(found->second->op_type(), " \"", found->second->name(), "\"");
    };
    for (const onnx::NodeProto& node : graph.node()) {
      if (node.op_type() != "Transpose" || !IsDefaultDomain(node.domain())) continue;
      if (notes.size() == kMost) {
        ++left;
        continue;
      }
      notes.push_back(absl::StrCat(
          "Transpose \"", node.name(), "\" stays: ", side(makers, node.input(0), "input"), " and ",
          side(readers, node.output(0), "output"), " need different orders of axes"));
    }
  });
  if (left > 0) notes.push_back(absl::StrCat(left, " more Transposes stay"));
  return notes;
}

absl::Status OptimizeLayout(Model& model, WeightArena& arena, const JobContext& context) {
  onnx::ModelProto& proto = model.mutable_proto();
  bool any = false;
  ForEachGraph(std::as_const(proto), [&](const onnx::GraphProto& graph, int) {
    for (const onnx::NodeProto& node : graph.node()) any |= node.op_type() == "Transpose";
  });
  const AllShapes shapes = InferValueShapes(proto);
  ForEachGraph(proto, [&](onnx::GraphProto& graph, int) { graph.clear_value_info(); });
  if (!any) return absl::OkStatus();
  if (context.cancellation != nullptr) MP_RETURN_IF_ERROR(context.cancellation->Check());
  Shared shared(&model, &arena);
  MP_RETURN_IF_ERROR(RunGraph(shared, shapes, proto.mutable_graph(), {}));
  return shared.turner.Finish();
}

}  // namespace modelpress
