// Knowing the graph and making nodes: see opset_lowering_rules.h.
#include "core/quant/opset_lowering_rules.h"

#include <algorithm>
#include <exception>

#include "core/model/integers.h"
#include "onnx/shape_inference/implementation.h"

namespace modelpress {

Lowering::Lowering(Model& model, int64_t target)
    : model_(model), target_(target), names_(model.proto()) {
  onnx::ModelProto inferred = model.proto();
  try {
    onnx::shape_inference::InferShapes(inferred);
  } catch (const std::exception&) {
    // Rules that need a shape do not apply then.
  }
  ForEachGraph(std::as_const(inferred), [&](const onnx::GraphProto& graph, int) {
    for (const auto* values : {&graph.input(), &graph.output(), &graph.value_info()}) {
      for (const onnx::ValueInfoProto& value : *values) {
        if (value.type().has_tensor_type()) Add(value.name(), value.type().tensor_type());
      }
    }
    for (const onnx::TensorProto& tensor : graph.initializer()) {
      onnx::TypeProto::Tensor type;
      type.set_elem_type(tensor.data_type());
      type.mutable_shape();
      for (const int64_t extent : tensor.dims())
        type.mutable_shape()->add_dim()->set_dim_value(extent);
      Add(tensor.name(), type);
    }
  });
  const GraphIndex index(model.mutable_proto());
  ForEachGraph(std::as_const(model).proto(), [&](const onnx::GraphProto& graph, int) {
    for (const onnx::NodeProto& node : graph.node()) {
      for (const std::string& input : node.input()) {
        const onnx::TensorProto* tensor = input.empty() ? nullptr : index.Constant(graph, input);
        if (tensor == nullptr) continue;
        if (auto values = ReadIntegers(model, *tensor, 64))
          constants_[{&node, input}] = std::move(*values);
      }
    }
  });
}

std::optional<std::vector<int64_t>> Lowering::Integers(const onnx::NodeProto& node,
                                                       int input) const {
  if (input >= node.input_size()) return std::nullopt;
  const auto found = constants_.find({&node, node.input(input)});
  return found == constants_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<std::vector<int64_t>> Lowering::Shape(const std::string& value) const {
  const auto found = types_.find(value);
  if (found == types_.end() || !found->second.has_shape()) return std::nullopt;
  std::vector<int64_t> shape;
  for (const auto& dim : found->second.shape().dim())
    shape.push_back(dim.has_dim_value() ? dim.dim_value() : -1);
  return shape;
}

DataType Lowering::Type(const std::string& value) const {
  const auto found = types_.find(value);
  return found == types_.end() ? DataType::kUndefined
                               : static_cast<DataType>(found->second.elem_type());
}

std::string Lowering::Int64s(const std::vector<int64_t>& values) {
  const int64_t count = static_cast<int64_t>(values.size());
  return Constant(DataType::kInt64, std::span(&count, 1), std::as_bytes(std::span(values)));
}

std::string Lowering::Float(float value) {
  return Constant(DataType::kFloat, {}, std::as_bytes(std::span(&value, 1)));
}

std::string Lowering::Ones(int64_t count) {
  const std::vector<float> ones(static_cast<size_t>(count), 1.0f);
  return Constant(DataType::kFloat, std::span(&count, 1), std::as_bytes(std::span(ones)));
}

std::string Lowering::Append(LoweredNodes* nodes, const onnx::NodeProto& old, std::string_view op,
                             std::vector<std::string> inputs, bool last) {
  onnx::NodeProto& node = nodes->emplace_back();
  node.set_op_type(std::string(op));
  const std::string base = NodeName(old) + "/" + std::string(op);
  node.set_name(last ? old.name() : names_.Make(base));
  for (std::string& input : inputs) node.add_input(std::move(input));
  node.add_output(last ? old.output(0) : names_.Make(base + ":0"));
  return node.output(0);
}

void Lowering::Add(const std::string& name, const onnx::TypeProto::Tensor& type) {
  const auto [at, is_new] = types_.emplace(name, type);
  if (!is_new && at->second.SerializeAsString() != type.SerializeAsString())
    at->second = onnx::TypeProto::Tensor();
}

std::string Lowering::Constant(DataType type, std::span<const int64_t> dims,
                               std::span<const std::byte> bytes) {
  std::string key =
      std::to_string(static_cast<int>(type)) + "," + std::to_string(dims.size()) + ",";
  key.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::string& name = made_[key];
  if (!name.empty()) return name;
  name = names_.Make("opset_constant");
  onnx::TensorProto* tensor = model_.mutable_proto().mutable_graph()->add_initializer();
  tensor->set_name(name);
  model_.SetInline(tensor, type, dims, bytes).IgnoreError();  // sizes agree by construction
  return name;
}

void RemoveAttribute(onnx::NodeProto& node, std::string_view name) {
  auto& attributes = *node.mutable_attribute();
  attributes.erase(std::remove_if(attributes.begin(), attributes.end(),
                                  [&](const auto& attribute) { return attribute.name() == name; }),
                   attributes.end());
}

void SetInts(onnx::NodeProto& node, const std::string& name, const std::vector<int64_t>& values) {
  onnx::AttributeProto* attribute = node.add_attribute();
  attribute->set_name(name);
  attribute->set_type(onnx::AttributeProto::INTS);
  attribute->mutable_ints()->Add(values.begin(), values.end());
}

void SetInt(onnx::NodeProto& node, const std::string& name, int64_t value) {
  onnx::AttributeProto* attribute = node.add_attribute();
  attribute->set_name(name);
  attribute->set_type(onnx::AttributeProto::INT);
  attribute->set_i(value);
}

bool HasInput(const onnx::NodeProto& node, int i) {
  return i < node.input_size() && !node.input(i).empty();
}

void TrimInputs(onnx::NodeProto& node) {
  while (node.input_size() > 0 && node.input(node.input_size() - 1).empty())
    node.mutable_input()->RemoveLast();
}

}  // namespace modelpress
