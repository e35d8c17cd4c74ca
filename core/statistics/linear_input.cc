// The value that a weight is multiplied with; see linear_input.h.
#include "core/statistics/linear_input.h"

#include <algorithm>
#include <cstring>

namespace modelpress {

std::optional<ValueKey> LinearInput(const GraphIndex& index, const GraphPaths& paths,
                                    const CandidateWeight& weight) {
  std::optional<ValueKey> found;
  if (weight.tensor->dims_size() != 2) return std::nullopt;
  for (const Use& use : weight.uses) {
    const onnx::NodeProto& node = *use.node;
    const bool multiplies = node.op_type() == "MatMul" || node.op_type() == "Gemm";
    if (!multiplies || !IsDefaultDomain(node.domain())) continue;
    if (use.input != 1 || IntAttribute(node, "transA", 0) != 0) return std::nullopt;
    const std::optional<ValueKey> key = paths.KeyOf(index, *use.graph, node.input(0));
    if (!key.has_value() || (found.has_value() && *found != *key)) return std::nullopt;
    found = key;
  }
  return found;
}

std::vector<float> NormalizedEnergy(const Model& model, const GraphIndex& index,
                                    const CandidateWeight& weight) {
  if (weight.uses.empty() || weight.uses[0].node->input_size() == 0) return {};
  const onnx::GraphProto& scope = *weight.uses[0].graph;
  const onnx::NodeProto* node = index.Producer(scope, weight.uses[0].node->input(0));
  if (node == nullptr || node->op_type() != "LayerNormalization") return {};
  std::vector<float> energy;
  for (int input = 1; input < std::min(3, node->input_size()); ++input) {
    if (node->input(input).empty()) continue;
    const onnx::TensorProto* tensor = index.Constant(scope, node->input(input));
    if (tensor == nullptr || Type(*tensor) != DataType::kFloat) return {};
    const auto bytes = model.Bytes(*tensor);
    if (!bytes.ok()) return {};
    energy.resize(bytes->size() / sizeof(float));
    for (size_t k = 0; k < energy.size(); ++k) {
      float value;
      std::memcpy(&value, bytes->data() + k * sizeof(float), sizeof(float));
      energy[k] += value * value;
    }
  }
  return energy;
}

}  // namespace modelpress
