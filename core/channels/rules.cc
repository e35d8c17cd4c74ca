// The table of all rules, and what they share; see rules.h.
#include "core/channels/rules.h"

#include <algorithm>

#include "absl/container/flat_hash_map.h"

namespace modelpress {

const OperatorRule* FindRule(const onnx::NodeProto& node) {
  static const auto* const table = [] {
    auto* made = new absl::flat_hash_map<std::string, const OperatorRule*>;
    for (const auto& family : {LayerRules(), ElementwiseRules(), NormRules(), SpatialRules(),
                               JoiningRules(), ReshapeRules()}) {
      for (const OperatorRule& rule : family) made->emplace(rule.op, &rule);
    }
    return made;
  }();
  if (!IsDefaultDomain(node.domain())) return nullptr;
  const auto found = table->find(node.op_type());
  return found == table->end() ? nullptr : found->second;
}

std::optional<std::vector<int>> AxesOf(const ChannelAxes& axes, const onnx::NodeProto& node,
                                       int input, int rank) {
  std::optional<std::vector<int64_t>> given;
  if (const auto* attribute = FindAttribute(node, "axes")) {
    given.emplace(attribute->ints().begin(), attribute->ints().end());
  } else if (input < 0 || input >= node.input_size() || node.input(input).empty()) {
    return std::vector<int>();
  } else {
    given = axes.Integers(node.input(input));
  }
  if (!given.has_value()) return std::nullopt;
  std::vector<int> result;
  for (const int64_t axis : *given) {
    if (axis < -rank || axis >= rank) return std::nullopt;
    result.push_back(static_cast<int>(axis < 0 ? axis + rank : axis));
  }
  return result;
}

int AxisOf(const onnx::NodeProto& node, int64_t fallback, int rank) {
  const int64_t axis = IntAttribute(node, "axis", fallback);
  if (rank < 0 || axis < -rank || axis >= rank) return -1;
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

void KeepOtherOutputs(ChannelAxes& axes, const onnx::NodeProto& node) {
  for (int i = 1; i < node.output_size(); ++i) {
    if (node.output(i).empty()) continue;
    const bool read = !axes.index().Uses(axes.graph(), node.output(i)).empty() ||
                      axes.index().IsGraphOutput(axes.graph(), node.output(i));
    if (read) axes.KeepNode(node, "another output than its first is read");
  }
}

}  // namespace modelpress
