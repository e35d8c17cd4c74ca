// Another number for the same graph; see opset_relabel.h.
#include "core/quant/opset_relabel.h"

#include <algorithm>
#include <exception>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/model/graph.h"
#include "onnx/defs/data_type_utils.h"
#include "onnx/defs/schema.h"
#include "onnx/shape_inference/implementation.h"

namespace modelpress {
namespace {

// By value name, over all graphs; where graphs have the same name for different values, the first counts.
using Types = absl::flat_hash_map<std::string, int32_t>;

Types ElementTypes(const onnx::ModelProto& model) {
  onnx::ModelProto inferred = model;
  try {
    onnx::shape_inference::InferShapes(inferred);
  } catch (const std::exception&) {
    // What is not known is not checked here; whoever loads the model checks it again.
  }
  Types types;
  const auto add = [&](const auto& values) {
    for (const onnx::ValueInfoProto& value : values)
      types.emplace(value.name(), value.type().tensor_type().elem_type());
  };
  ForEachGraph(std::as_const(inferred), [&](const onnx::GraphProto& graph, int) {
    add(graph.input());
    add(graph.output());
    add(graph.value_info());
    for (const onnx::TensorProto& tensor : graph.initializer())
      types.emplace(tensor.name(), tensor.data_type());
  });
  return types;
}

// Whether one of the parameters takes the values; unknown types pass.
template <typename Names>
bool TypesFit(const Names& names, const std::vector<onnx::OpSchema::FormalParameter>& parameters,
              const Types& types) {
  for (int i = 0; i < names.size(); ++i) {
    const auto found = types.find(names.Get(i));
    if (parameters.empty() || found == types.end() || found->second == 0) continue;
    const size_t at = std::min(static_cast<size_t>(i), parameters.size() - 1);
    onnx::TypeProto type;
    type.mutable_tensor_type()->set_elem_type(found->second);
    if (!parameters[at].GetTypes().contains(onnx::Utils::DataTypeUtils::ToType(type))) return false;
  }
  return true;
}

// Whether an input that the operator needs has no name.
bool LacksInput(const onnx::NodeProto& node, const onnx::OpSchema& schema) {
  const auto& parameters = schema.inputs();
  for (int i = 0; i < node.input_size() && static_cast<size_t>(i) < parameters.size(); ++i) {
    if (node.input(i).empty() &&
        parameters[static_cast<size_t>(i)].GetOption() == onnx::OpSchema::Single)
      return true;
  }
  return false;
}

std::string_view StringAttribute(const onnx::NodeProto& node, std::string_view name) {
  const onnx::AttributeProto* attribute = FindAttribute(node, name);
  return attribute == nullptr ? std::string_view() : std::string_view(attribute->s());
}

// Why the node cannot be what it is at `target`; empty if it can.
std::string Obstacle(const onnx::NodeProto& node, int64_t from, int64_t target,
                     const Types& types) {
  const std::string& op = node.op_type();
  const auto* now = onnx::OpSchemaRegistry::Schema(op, static_cast<int>(from), "");
  const auto* then = onnx::OpSchemaRegistry::Schema(op, static_cast<int>(target), "");
  if (now == nullptr) return "it is not known";
  if (then == nullptr || then->Deprecated()) return "it came later";
  if (now->SinceVersion() == then->SinceVersion()) return "";
  // Other meaning or other names of the same attributes.
  if (op == "GroupNormalization" || op == "RoiAlign") return "it meant something else";
  // Its older names of modes are there after lowering.
  if (op == "GridSample" && !StringAttribute(node, "mode").starts_with("bi"))
    return "it meant something else";
  // Inference is the same in all versions from 9 on.
  if (op == "BatchNormalization" &&
      (node.output_size() != 1 || IntAttribute(node, "training_mode", 0) != 0)) {
    return "it meant something else";
  }
  if (op == "Pad" && StringAttribute(node, "mode") == "wrap") return "its mode came later";
  if (op == "Resize" &&
      StringAttribute(node, "coordinate_transformation_mode") == "half_pixel_symmetric") {
    return "its mode came later";
  }
  for (const onnx::AttributeProto& attribute : node.attribute()) {
    if (!then->attributes().contains(attribute.name()))
      return FormatString("its attribute {} came later", attribute.name());
  }
  if (node.input_size() > then->max_input() || node.output_size() > then->max_output())
    return "it has more inputs or outputs";
  if (node.input_size() < then->min_input() || LacksInput(node, *then))
    return "it needed an input that is left out";
  if (!TypesFit(node.input(), then->inputs(), types) ||
      !TypesFit(node.output(), then->outputs(), types)) {
    return "it did not take these types";
  }
  return "";
}

}  // namespace

absl::Status RelabelOpset(Model& model, int64_t target) {
  const int64_t from = model.opset();
  const Types types = ElementTypes(model.proto());
  absl::Status status;
  ForEachGraph(std::as_const(model).proto(), [&](const onnx::GraphProto& graph, int) {
    for (const onnx::NodeProto& node : graph.node()) {
      if (!status.ok() || !IsDefaultDomain(node.domain())) continue;
      const std::string obstacle = Obstacle(node, from, target, types);
      if (obstacle.empty()) continue;
      status = Error(ERROR_REASON_OPSET_UNSUPPORTED,
                     FormatString("cannot take {} back from opset {} to {}: {}", node.op_type(),
                                  from, target, obstacle))
                   .Op(node.op_type())
                   .Node(node.name())
                   .With("domain", "ai.onnx")
                   .With("opset", std::to_string(target))
                   .Remedy("keep the newer opset");
    }
  });
  if (!status.ok()) return status;
  for (auto& import : *model.mutable_proto().mutable_opset_import()) {
    if (IsDefaultDomain(import.domain())) import.set_version(target);
  }
  return absl::OkStatus();
}

}  // namespace modelpress
