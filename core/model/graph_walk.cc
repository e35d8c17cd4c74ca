// Walking graphs, subgraphs and functions, and reading attributes: see graph.h.
//
// Recursion is bounded: readers refuse models nested deeper than protobuf itself allows (100 messages).
//
// The walks are written once, over const messages (a mutable_...() accessor would write to models that several threads
// read); the overloads for changeable models cast the constness of their own argument away again.
#include "core/model/graph.h"

namespace modelpress {
namespace {

using GraphVisit = std::function<void(const onnx::GraphProto&, int depth)>;
using TensorVisit = std::function<void(const TensorSite&)>;

template <typename Message>
Message* Changeable(const Message& message) {
  return const_cast<Message*>(&message);
}

void WalkGraph(const onnx::GraphProto& graph, int depth, const GraphVisit& visit);

void WalkSubgraphs(const onnx::NodeProto& node, int depth, const GraphVisit& visit) {
  for (const onnx::AttributeProto& attribute : node.attribute()) {
    if (attribute.has_g()) WalkGraph(attribute.g(), depth, visit);
    for (const onnx::GraphProto& graph : attribute.graphs()) WalkGraph(graph, depth, visit);
  }
}

void WalkGraph(const onnx::GraphProto& graph, int depth, const GraphVisit& visit) {
  visit(graph, depth);
  for (const onnx::NodeProto& node : graph.node()) WalkSubgraphs(node, depth + 1, visit);
}

void VisitSparse(const onnx::SparseTensorProto& sparse, TensorSite site, const TensorVisit& visit) {
  if (sparse.has_values()) {
    site.tensor = Changeable(sparse.values());
    visit(site);
  }
  if (sparse.has_indices()) {
    site.tensor = Changeable(sparse.indices());
    visit(site);
  }
}

void VisitAttributeTensors(const onnx::AttributeProto& attribute, TensorSite site,
                           const TensorVisit& visit) {
  if (attribute.has_t()) {
    site.tensor = Changeable(attribute.t());
    visit(site);
  }
  site.value_name.clear();
  for (const onnx::TensorProto& tensor : attribute.tensors()) {
    site.tensor = Changeable(tensor);
    visit(site);
  }
  if (attribute.has_sparse_tensor()) VisitSparse(attribute.sparse_tensor(), site, visit);
  for (const onnx::SparseTensorProto& sparse : attribute.sparse_tensors()) {
    VisitSparse(sparse, site, visit);
  }
}

// Only the attributes of this node; subgraphs are visited as graphs.
void VisitNodeTensors(const onnx::NodeProto& node, onnx::GraphProto* graph,
                      const TensorVisit& visit) {
  for (const onnx::AttributeProto& attribute : node.attribute()) {
    TensorSite site{nullptr, graph, Changeable(node), ""};
    if (IsConstantNode(node) && attribute.name() == "value") site.value_name = node.output(0);
    VisitAttributeTensors(attribute, site, visit);
  }
}

void VisitGraphTensors(const onnx::GraphProto& graph, bool in_function, const TensorVisit& visit) {
  onnx::GraphProto* holder = in_function ? nullptr : Changeable(graph);
  for (const onnx::TensorProto& tensor : graph.initializer()) {
    visit({Changeable(tensor), holder, nullptr, tensor.name()});
  }
  for (const onnx::SparseTensorProto& sparse : graph.sparse_initializer()) {
    VisitSparse(sparse, {nullptr, holder, nullptr, ""}, visit);
  }
  for (const onnx::NodeProto& node : graph.node()) VisitNodeTensors(node, holder, visit);
}

void WalkTensors(const onnx::ModelProto& model, const TensorVisit& visit) {
  if (model.has_graph()) {
    WalkGraph(model.graph(), 0, [&](const onnx::GraphProto& graph, int) {
      VisitGraphTensors(graph, /*in_function=*/false, visit);
    });
  }
  for (const onnx::FunctionProto& function : model.functions()) {
    for (const onnx::NodeProto& node : function.node()) {
      VisitNodeTensors(node, nullptr, visit);
      WalkSubgraphs(node, 1, [&](const onnx::GraphProto& graph, int) {
        VisitGraphTensors(graph, /*in_function=*/true, visit);
      });
    }
    for (const onnx::AttributeProto& attribute : function.attribute_proto()) {
      VisitAttributeTensors(attribute, {}, visit);
    }
  }
}

}  // namespace

void ForEachGraph(onnx::ModelProto& model,
                  const std::function<void(onnx::GraphProto&, int depth)>& visit) {
  WalkGraph(*model.mutable_graph(), 0,
            [&](const onnx::GraphProto& graph, int depth) { visit(*Changeable(graph), depth); });
}

void ForEachGraph(const onnx::ModelProto& model, const GraphVisit& visit) {
  WalkGraph(model.graph(), 0, visit);
}

void ForEachTensor(onnx::ModelProto& model, const TensorVisit& visit) { WalkTensors(model, visit); }

void ForEachTensor(const onnx::ModelProto& model,
                   const std::function<void(const onnx::TensorProto&)>& visit) {
  WalkTensors(model, [&](const TensorSite& site) { visit(*site.tensor); });
}

bool IsDefaultDomain(std::string_view domain) { return domain.empty() || domain == "ai.onnx"; }

bool IsConstantNode(const onnx::NodeProto& node) {
  return node.op_type() == "Constant" && IsDefaultDomain(node.domain()) && node.output_size() == 1;
}

std::string NodeName(const onnx::NodeProto& node) {
  return node.name().empty() && node.output_size() > 0 ? node.output(0) : node.name();
}

const onnx::AttributeProto* FindAttribute(const onnx::NodeProto& node, std::string_view name) {
  for (const onnx::AttributeProto& attribute : node.attribute()) {
    if (attribute.name() == name) return &attribute;
  }
  return nullptr;
}

int64_t IntAttribute(const onnx::NodeProto& node, std::string_view name, int64_t fallback) {
  const onnx::AttributeProto* attribute = FindAttribute(node, name);
  return attribute != nullptr && attribute->has_i() ? attribute->i() : fallback;
}

float FloatAttribute(const onnx::NodeProto& node, std::string_view name, float fallback) {
  const onnx::AttributeProto* attribute = FindAttribute(node, name);
  return attribute != nullptr && attribute->has_f() ? attribute->f() : fallback;
}

}  // namespace modelpress
