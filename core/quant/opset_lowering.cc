// Newer nodes in older words: see opset_lowering.h.
#include "core/quant/opset_lowering.h"

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "core/quant/opset_lowering_rules.h"

namespace modelpress {
namespace {

std::vector<const LoweringRule*> RulesFor(const onnx::NodeProto& node, int64_t from,
                                          int64_t target) {
  std::vector<const LoweringRule*> found;
  if (!IsDefaultDomain(node.domain()) || node.input_size() == 0 || node.output_size() == 0)
    return found;
  for (const auto rules : {InputRules(), PartRules()}) {
    for (const LoweringRule& rule : rules) {
      if (rule.op == node.op_type() && target < rule.since && rule.since <= from)
        found.push_back(&rule);
    }
  }
  return found;
}

}  // namespace

void LowerNodes(Model& model, int64_t target) {
  const int64_t from = model.opset();
  bool any = false;
  ForEachGraph(std::as_const(model).proto(), [&](const onnx::GraphProto& graph, int) {
    for (const onnx::NodeProto& node : graph.node()) any |= !RulesFor(node, from, target).empty();
  });
  if (!any) return;
  Lowering lowering(model, target);
  std::vector<onnx::GraphProto*> graphs;
  ForEachGraph(model.mutable_proto(),
               [&](onnx::GraphProto& graph, int) { graphs.push_back(&graph); });
  // Inner graphs first: they are parts of the nodes of outer ones.
  for (auto graph = graphs.rbegin(); graph != graphs.rend(); ++graph) {
    LoweredNodes nodes;
    bool changed = false;
    for (onnx::NodeProto& node : *(*graph)->mutable_node()) {
      LoweredNodes made;
      const auto rules = RulesFor(node, from, target);
      if (std::ranges::any_of(rules, [&](const LoweringRule* rule) {
            return rule->lower(lowering, node, &made);
          })) {
        changed = true;
        std::ranges::move(made, std::back_inserter(nodes));
      } else {
        nodes.push_back(node);
      }
    }
    if (!changed) continue;
    (*graph)->clear_node();
    for (onnx::NodeProto& node : nodes) *(*graph)->add_node() = std::move(node);
  }
  RemoveDead(model.mutable_proto());
}

}  // namespace modelpress
