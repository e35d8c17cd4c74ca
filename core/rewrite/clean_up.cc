// Clean-up that changes no result: see clean_up.h.
#include "core/rewrite/clean_up.h"

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>

#include "core/base/status.h"

namespace modelpress {
namespace {

bool IsIdentityPermutation(const onnx::NodeProto& node) {
  const onnx::AttributeProto* perm = FindAttribute(node, "perm");
  if (perm == nullptr || perm->ints_size() == 0) return false;
  for (int i = 0; i < perm->ints_size(); ++i) {
    if (perm->ints(i) != i) return false;
  }
  return true;
}

// Gives back its first input, whatever that is.
bool HandsOn(const onnx::NodeProto& node, const GraphIndex& index, const onnx::GraphProto& graph) {
  if (!IsDefaultDomain(node.domain()) || node.input_size() == 0 || node.input(0).empty() ||
      node.output_size() == 0) {
    return false;
  }
  for (int o = 1; o < node.output_size(); ++o) {
    if (!node.output(o).empty()) return false;
  }
  const std::string& op = node.op_type();
  if (op == "Identity") return true;
  if (op == "Transpose") return IsIdentityPermutation(node);
  if (op == "Concat" || op == "Sum" || op == "Max" || op == "Min" || op == "Mean")
    return node.input_size() == 1;
  if (op == "Dropout") {
    // Training mode is an input since version 12.
    return node.input_size() < 3 || node.input(2).empty();
  }
  if (op == "Cast") {
    // Twice the same cast.
    const onnx::NodeProto* before = index.Producer(graph, node.input(0));
    return before != nullptr && before->op_type() == "Cast" && IsDefaultDomain(before->domain()) &&
           IntAttribute(*before, "to", 0) == IntAttribute(node, "to", -1);
  }
  return false;
}

}  // namespace

std::vector<CleanUp> MoveConstantsToInitializers(Model& model) {
  std::vector<CleanUp> done;
  onnx::GraphProto& graph = *model.mutable_proto().mutable_graph();
  absl::flat_hash_set<std::string> outputs;
  for (const auto& output : graph.output()) outputs.insert(output.name());
  google::protobuf::RepeatedPtrField<onnx::NodeProto> kept;
  for (onnx::NodeProto& node : *graph.mutable_node()) {
    const onnx::AttributeProto* value =
        IsConstantNode(node) ? FindAttribute(node, "value") : nullptr;
    if (value == nullptr || !value->has_t() || outputs.contains(node.output(0)) ||
        value->t().data_type() == onnx::TensorProto::STRING) {
      *kept.Add() = std::move(node);
      continue;
    }
    onnx::TensorProto& tensor = *graph.add_initializer();
    tensor = value->t();
    tensor.set_name(node.output(0));
    done.push_back({node.name(), tensor.name(), "Constant node to initializer"});
  }
  graph.mutable_node()->Swap(&kept);
  return done;
}

std::vector<CleanUp> RemoveIdentities(Model& model) {
  std::vector<CleanUp> done;
  const GraphIndex index(model.mutable_proto());
  std::vector<onnx::GraphProto*> graphs;
  ForEachGraph(model.mutable_proto(),
               [&](onnx::GraphProto& graph, int) { graphs.push_back(&graph); });
  for (onnx::GraphProto* graph : graphs) {
    absl::flat_hash_set<std::string> outputs;
    for (const auto& output : graph->output()) outputs.insert(output.name());
    for (onnx::NodeProto& node : *graph->mutable_node()) {
      if (!HandsOn(node, index, *graph) || outputs.contains(node.output(0))) continue;
      // The node itself becomes dead; readers of what it gave read what it was given, which may have changed above.
      ReplaceAllUses(*graph, node.output(0), node.input(0));
      done.push_back({node.name(), node.output(0), node.op_type() + " removed"});
    }
  }
  return done;
}

absl::StatusOr<std::vector<CleanUp>> MergeEqualConstants(Model& model) {
  std::vector<CleanUp> done;
  onnx::GraphProto& graph = *model.mutable_proto().mutable_graph();
  absl::flat_hash_set<std::string> fixed;
  for (const auto& input : graph.input()) fixed.insert(input.name());
  for (const auto& output : graph.output()) fixed.insert(output.name());
  // By type, shape and a hash of the bytes; bytes are compared where those agree.
  std::map<std::pair<std::string, size_t>, std::vector<const onnx::TensorProto*>> seen;
  absl::flat_hash_map<std::string, std::string> same;
  for (const onnx::TensorProto& tensor : graph.initializer()) {
    if (fixed.contains(tensor.name()) || Type(tensor) == DataType::kString) continue;
    MP_ASSIGN_OR_RETURN(const std::span<const std::byte> bytes, model.Bytes(tensor));
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    std::string kind = std::to_string(tensor.data_type());
    for (const int64_t dim : tensor.dims()) kind += "," + std::to_string(dim);
    auto& candidates = seen[{std::move(kind), std::hash<std::string_view>()(text)}];
    const auto equal = std::ranges::find_if(candidates, [&](const onnx::TensorProto* other) {
      const auto found = model.Bytes(*other);
      return found.ok() && std::ranges::equal(*found, bytes);
    });
    if (equal == candidates.end()) {
      candidates.push_back(&tensor);
      continue;
    }
    same[tensor.name()] = (*equal)->name();
  }
  for (const auto& [from, to] : same) {
    ReplaceAllUses(graph, from, to);
    done.push_back({"", from, "equal to " + to});
  }
  std::ranges::sort(done, {}, &CleanUp::tensor);
  return done;
}

void GiveConstantOutputs(Model& model, const std::set<std::string>& kept_names) {
  onnx::GraphProto& graph = *model.mutable_proto().mutable_graph();
  absl::flat_hash_map<std::string, int> reads;
  absl::flat_hash_map<std::string, onnx::TensorProto*> constants;
  absl::flat_hash_set<std::string> outputs;
  for (onnx::TensorProto& tensor : *graph.mutable_initializer()) constants[tensor.name()] = &tensor;
  for (const auto& input : graph.input()) constants.erase(input.name());
  for (const std::string& name : kept_names) constants.erase(name);
  for (const auto& output : graph.output()) {
    outputs.insert(output.name());
    ++reads[output.name()];
  }
  for (const onnx::NodeProto& node : graph.node()) {
    for (const std::string& input : node.input()) ++reads[input];
    for (const onnx::AttributeProto& attribute : node.attribute()) {
      if (attribute.has_g() || attribute.graphs_size() > 0) return;
    }
  }
  google::protobuf::RepeatedPtrField<onnx::NodeProto> kept;
  for (onnx::NodeProto& node : *graph.mutable_node()) {
    const auto constant = node.op_type() == "Identity" && IsDefaultDomain(node.domain())
                              ? constants.find(node.input(0))
                              : constants.end();
    if (constant == constants.end() || reads[node.input(0)] != 1 ||
        !outputs.contains(node.output(0))) {
      *kept.Add() = std::move(node);
      continue;
    }
    constant->second->set_name(node.output(0));
  }
  graph.mutable_node()->Swap(&kept);
}

}  // namespace modelpress
