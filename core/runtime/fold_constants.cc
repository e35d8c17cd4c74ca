// Computing at once what a model computes from constants alone: see fold_constants.h.
#include "core/runtime/fold_constants.h"

#include <algorithm>

#include "core/base/status.h"
#include "core/model/graph.h"
#include "core/runtime/session.h"

namespace modelpress {
namespace {

bool MayFold(const onnx::NodeProto& node) {
  static const auto* const excluded =
      new absl::flat_hash_set<std::string>{"RandomNormal",      "RandomNormalLike", "RandomUniform",
                                           "RandomUniformLike", "Multinomial",      "Bernoulli",
                                           "DequantizeLinear",  "Constant",         "Dropout"};
  if (!IsDefaultDomain(node.domain()) || node.output_size() == 0 ||
      excluded->contains(node.op_type()))
    return false;
  if (node.op_type().starts_with("Sequence") || node.op_type().starts_with("Optional"))
    return false;
  return std::ranges::none_of(node.attribute(), [](const onnx::AttributeProto& attribute) {
    return attribute.has_g() || attribute.graphs_size() > 0;
  });
}

// A node that is computed from constants, and the bytes of all constants behind it.
struct Candidate {
  const onnx::NodeProto* node = nullptr;
  uint64_t source_bytes = 0;
};

}  // namespace

absl::StatusOr<FoldedConstants> FoldConstants(Model& model, uint64_t cap, WeightArena& arena) {
  FoldedConstants result;
  onnx::GraphProto& graph = *model.mutable_proto().mutable_graph();
  absl::flat_hash_map<std::string, uint64_t> constants;  // to bytes
  for (const onnx::TensorProto& tensor : graph.initializer()) {
    if (const auto bytes = model.Bytes(tensor); bytes.ok())
      constants[tensor.name()] = bytes->size();
  }
  for (const auto& input : graph.input()) constants.erase(input.name());
  absl::flat_hash_map<std::string, Candidate> computed;
  std::vector<const onnx::NodeProto*> nodes;
  for (const onnx::NodeProto& node : graph.node()) {
    if (!MayFold(node)) continue;
    uint64_t bytes = 0;
    bool foldable = node.input_size() > 0;
    for (const std::string& input : node.input()) {
      if (input.empty()) continue;
      if (const auto found = constants.find(input); found != constants.end()) {
        bytes += found->second;
      } else if (const auto made = computed.find(input); made != computed.end()) {
        bytes += made->second.source_bytes;
      } else {
        foldable = false;
      }
    }
    if (!foldable) continue;
    nodes.push_back(&node);
    for (const std::string& output : node.output()) {
      if (!output.empty()) computed[output] = {&node, bytes};
    }
  }
  if (nodes.empty()) return result;
  // What nodes that stay, subgraphs and the caller read.
  absl::flat_hash_set<std::string> wanted_names;
  std::vector<std::string> wanted;
  const absl::flat_hash_set<const onnx::NodeProto*> folding(nodes.begin(), nodes.end());
  const auto want = [&](const std::string& name) {
    if (computed.contains(name) && wanted_names.insert(name).second) wanted.push_back(name);
  };
  ForEachGraph(std::as_const(model).proto(), [&](const onnx::GraphProto& inner, int) {
    for (const onnx::NodeProto& node : inner.node()) {
      if (folding.contains(&node)) continue;
      for (const std::string& input : node.input()) want(input);
    }
    for (const auto& output : inner.output()) want(output.name());
  });
  absl::flat_hash_set<std::string> outputs;
  for (const auto& output : graph.output()) outputs.insert(output.name());
  std::erase_if(wanted, [&](const std::string& name) { return outputs.contains(name); });
  if (wanted.empty()) return result;

  Model part = model.Clone();
  onnx::GraphProto& part_graph = *part.mutable_proto().mutable_graph();
  part_graph.clear_node();
  part_graph.clear_input();
  part_graph.clear_output();
  part_graph.clear_value_info();
  for (const onnx::NodeProto* node : nodes) *part_graph.add_node() = *node;
  for (const std::string& name : wanted) part_graph.add_output()->set_name(name);
  RemoveDead(part.mutable_proto());
  MP_ASSIGN_OR_RETURN(const auto session, Session::Create(part, {.optimize = false}));
  MP_ASSIGN_OR_RETURN(const TensorMap values, session->Run({}));
  for (const std::string& name : wanted) {
    const Tensor& tensor = values.at(name);
    const Candidate& candidate = computed.at(name);
    const FoldedValue value{name, candidate.node->name(), tensor.bytes.size()};
    if (tensor.type == DataType::kString ||
        (value.bytes > cap && value.bytes > candidate.source_bytes)) {
      result.too_large.push_back(value);
      continue;
    }
    result.folded.push_back(value);
  }
  UniqueNames names(model.proto());
  for (const FoldedValue& value : result.folded) {
    const Tensor& tensor = values.at(value.value);
    onnx::TensorProto made;
    made.set_name(names.Make(value.value + "/folded"));
    MP_RETURN_IF_ERROR(model.SetBytes(&made, tensor.type, tensor.dims, tensor.bytes, arena));
    ReplaceAllUses(graph, value.value, made.name());
    *graph.add_initializer() = std::move(made);
  }
  return result;
}

}  // namespace modelpress
