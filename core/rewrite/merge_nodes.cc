// Nodes that compute the same: see merge_nodes.h.
#include "core/rewrite/merge_nodes.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "core/model/graph.h"

namespace modelpress {
namespace {

bool IsRandom(std::string_view op) {
  return op.starts_with("Random") || op == "Multinomial" || op == "Bernoulli" || op == "Dropout";
}

// Everything that the results depend on; "" where nodes cannot be compared.
std::string KeyOf(const onnx::NodeProto& node) {
  if (IsRandom(node.op_type()) || node.input_size() == 0) return "";
  std::string key = absl::StrCat(node.domain(), "\n", node.op_type(), "\n", node.output_size());
  for (const std::string& output : node.output()) key += output.empty() ? '-' : '+';
  for (const std::string& input : node.input()) absl::StrAppend(&key, "\n", input);
  for (const onnx::AttributeProto& attribute : node.attribute()) {
    if (attribute.has_g() || attribute.graphs_size() > 0) return "";
    const std::string bytes = attribute.SerializeAsString();
    absl::StrAppend(&key, "\n", bytes.size(), ":", bytes);
  }
  return key;
}

}  // namespace

int MergeEqualNodes(Model& model) {
  int merged = 0;
  absl::flat_hash_map<std::string, std::string> same;
  // Outer graphs come before what is inside of them.
  ForEachGraph(model.mutable_proto(), [&](onnx::GraphProto& graph, int) {
    absl::flat_hash_set<std::string> outputs;
    for (const auto& output : graph.output()) outputs.insert(output.name());
    absl::flat_hash_map<std::string, onnx::NodeProto*> seen;
    for (onnx::NodeProto& node : *graph.mutable_node()) {
      for (std::string& input : *node.mutable_input()) {
        if (const auto found = same.find(input); found != same.end()) input = found->second;
      }
      std::string key = KeyOf(node);
      if (key.empty()) continue;
      const auto [first, is_new] = seen.emplace(std::move(key), &node);
      const bool kept = std::ranges::any_of(
          node.output(), [&](const std::string& name) { return outputs.contains(name); });
      if (is_new) continue;
      if (kept) {
        // The first one makes the output, if it makes none itself.
        onnx::NodeProto& other = *first->second;
        if (std::ranges::any_of(other.output(),
                                [&](const std::string& name) { return outputs.contains(name); }))
          continue;
        for (int o = 0; o < node.output_size(); ++o) {
          const std::string made = other.output(o), wanted = node.output(o);
          if (made.empty()) continue;
          ReplaceAllUses(graph, made, wanted);
          for (auto& [from, to] : same) to = to == made ? wanted : to;
          other.set_output(o, wanted);
          node.set_output(o, made);
        }
        ++merged;
        continue;
      }
      for (int o = 0; o < node.output_size(); ++o) {
        if (!node.output(o).empty()) same[node.output(o)] = first->second->output(o);
      }
      ++merged;
    }
    for (auto& output : *graph.mutable_output()) {
      // Of a body that gives back a value of the graph around it.
      if (const auto found = same.find(output.name()); found != same.end())
        output.set_name(found->second);
    }
  });
  return merged;
}

}  // namespace modelpress
