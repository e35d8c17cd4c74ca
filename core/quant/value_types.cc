// Element types from schemas; see value_types.h.
#include "core/quant/value_types.h"

#include <algorithm>

namespace modelpress {
namespace {

DataType Declared(const onnx::ValueInfoProto& value) {
  return static_cast<DataType>(value.type().tensor_type().elem_type());
}

// "tensor(float)" -> kFloat.
DataType FromTypeString(std::string_view text) {
  const auto& type = onnx::Utils::DataTypeUtils::ToTypeProto(
      onnx::Utils::DataTypeUtils::ToType(std::string(text)));
  return type.has_tensor_type() ? static_cast<DataType>(type.tensor_type().elem_type())
                                : DataType::kUndefined;
}

const onnx::OpSchema::FormalParameter* Formal(
    const std::vector<onnx::OpSchema::FormalParameter>& list, int i) {
  if (list.empty()) return nullptr;
  if (static_cast<size_t>(i) < list.size()) return &list[i];
  return list.back().GetOption() == onnx::OpSchema::Variadic ? &list.back() : nullptr;
}

bool OpsetBefore9(const onnx::ModelProto& model) {
  return std::ranges::any_of(model.opset_import(), [](const auto& import) {
    return IsDefaultDomain(import.domain()) && import.version() < 9;
  });
}

}  // namespace

const onnx::OpSchema* SchemaOf(const onnx::ModelProto& model, const onnx::NodeProto& node) {
  for (const auto& import : model.opset_import()) {
    const bool same = import.domain() == node.domain() ||
                      (IsDefaultDomain(import.domain()) && IsDefaultDomain(node.domain()));
    if (!same) continue;
    const std::string domain = IsDefaultDomain(node.domain()) ? "" : node.domain();
    return onnx::OpSchemaRegistry::Schema(node.op_type(), static_cast<int>(import.version()),
                                          domain);
  }
  return nullptr;
}

const onnx::OpSchema::FormalParameter* FormalInput(const onnx::OpSchema& schema, int i) {
  return Formal(schema.inputs(), i);
}
const onnx::OpSchema::FormalParameter* FormalOutput(const onnx::OpSchema& schema, int i) {
  return Formal(schema.outputs(), i);
}

ValueTypes::ValueTypes(onnx::ModelProto& model, const GraphIndex& index)
    : model_(model), index_(index) {
  Walk(*model.mutable_graph(), {});
}

DataType ValueTypes::Find(const onnx::GraphProto& scope, const std::string& name) const {
  const auto found = types_.find(index_.DefiningGraph(scope, name));
  if (found == types_.end()) return DataType::kUndefined;
  const auto value = found->second.find(name);
  return value == found->second.end() ? DataType::kUndefined : value->second;
}

void ValueTypes::Walk(onnx::GraphProto& graph, const std::vector<DataType>& given) {
  absl::flat_hash_map<std::string, DataType> declared;
  for (const auto& value : graph.value_info()) declared[value.name()] = Declared(value);
  for (const auto& value : graph.output()) declared[value.name()] = Declared(value);
  for (int i = 0; i < graph.input_size(); ++i) {
    DataType& type = types_[&graph][graph.input(i).name()];
    type = Declared(graph.input(i));
    // Bodies need not say what their node hands them.
    if (type == DataType::kUndefined && static_cast<size_t>(i) < given.size()) type = given[i];
  }
  for (const auto& tensor : graph.initializer()) types_[&graph][tensor.name()] = Type(tensor);
  for (onnx::NodeProto& node : *graph.mutable_node()) {
    for (onnx::AttributeProto& attribute : *node.mutable_attribute()) {
      if (attribute.has_g()) Walk(*attribute.mutable_g(), TypesOfInputs(graph, node));
    }
    for (int i = 0; i < node.output_size(); ++i) {
      if (node.output(i).empty()) continue;
      DataType type = OutputType(graph, node, i);
      if (type == DataType::kUndefined) {
        const auto said = declared.find(node.output(i));
        if (said != declared.end()) type = said->second;
      }
      types_[&graph][node.output(i)] = type;
    }
  }
}

// What the node's body takes: a Loop hands on its inputs behind the number of the turn and the condition, a Scan all of
// them (before opset 9 behind the lengths).
std::vector<DataType> ValueTypes::TypesOfInputs(const onnx::GraphProto& graph,
                                                const onnx::NodeProto& node) const {
  std::vector<DataType> types;
  if (node.op_type() != "Loop" && node.op_type() != "Scan") return types;
  const bool has_lengths = node.op_type() == "Scan" && OpsetBefore9(model_);
  for (int i = has_lengths ? 1 : 0; i < node.input_size(); ++i)
    types.push_back(Find(graph, node.input(i)));
  if (node.op_type() == "Loop" && types.size() >= 2) {
    types[0] = DataType::kInt64;
    types[1] = DataType::kBool;
  }
  return types;
}

DataType ValueTypes::OutputType(const onnx::GraphProto& graph, const onnx::NodeProto& node,
                                int i) const {
  const auto attribute_type = [&](std::string_view name, DataType fallback) {
    return static_cast<DataType>(IntAttribute(node, name, static_cast<int64_t>(fallback)));
  };
  const auto input_type = [&](int input) {
    return node.input_size() > input ? Find(graph, node.input(input)) : DataType::kUndefined;
  };
  const std::string& op = node.op_type();
  if (op == "Cast") return attribute_type("to", DataType::kUndefined);
  if (op == "Constant" || op == "ConstantOfShape") {
    const onnx::AttributeProto* value = FindAttribute(node, "value");
    if (value != nullptr && value->has_t()) return Type(value->t());
    if (op == "ConstantOfShape" || FindAttribute(node, "value_float") != nullptr ||
        FindAttribute(node, "value_floats") != nullptr) {
      return DataType::kFloat;
    }
    const bool integer = FindAttribute(node, "value_int") || FindAttribute(node, "value_ints");
    return integer ? DataType::kInt64 : DataType::kString;
  }
  if (op == "RandomNormal" || op == "RandomUniform")
    return attribute_type("dtype", DataType::kFloat);
  if (op == "Multinomial") return attribute_type("dtype", DataType::kInt32);
  if (op == "RandomNormalLike" || op == "RandomUniformLike" || op == "EyeLike" ||
      op == "Bernoulli") {
    return attribute_type("dtype", input_type(0));
  }
  if (op.ends_with("Window")) return attribute_type("output_datatype", DataType::kFloat);
  if (op == "If" || op == "Loop" || op == "Scan") {
    const onnx::AttributeProto* body = FindAttribute(node, op == "If" ? "then_branch" : "body");
    // A Loop's body first gives the condition.
    const int place = op == "Loop" ? i + 1 : i;
    if (body == nullptr || place >= body->g().output_size()) return DataType::kUndefined;
    return Find(body->g(), body->g().output(place).name());
  }
  const onnx::OpSchema* schema = SchemaOf(model_, node);
  const auto* formal = schema == nullptr ? nullptr : FormalOutput(*schema, i);
  if (formal == nullptr) {
    // An operator of another domain: floats in, floats out, unless the model says otherwise.
    return schema == nullptr && input_type(0) == DataType::kFloat ? DataType::kFloat
                                                                  : DataType::kUndefined;
  }
  for (int input = 0; input < node.input_size(); ++input) {
    const auto* from = FormalInput(*schema, input);
    if (from != nullptr && from->GetTypeStr() == formal->GetTypeStr() &&
        input_type(input) != DataType::kUndefined) {
      return input_type(input);
    }
  }
  const auto& types = formal->GetTypes();
  return types.size() == 1 ? FromTypeString(**types.begin()) : DataType::kUndefined;
}

}  // namespace modelpress
