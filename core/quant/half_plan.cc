// Which nodes and values of a float32 graph become float16; see half_plan.h.
#include "core/quant/half_plan.h"

#include <algorithm>

#include "core/quant/skip.h"

namespace modelpress {
namespace {

bool Among(std::string_view value, std::initializer_list<std::string_view> list) {
  return std::ranges::find(list, value) != list.end();
}

bool IsControlFlow(const onnx::NodeProto& node) {
  return Among(node.op_type(), {"If", "Loop", "Scan"}) && IsDefaultDomain(node.domain());
}

// Operators that admit float16 but give nothing that runs: generators have no float16 kernel in
// ONNX Runtime 1.21 (and no float input that it could cast), scales of quantization keep their
// precision, sequences hide their element type, scattering with a reduction has no float16 kernel,
// and the runtime unfolds MeanVarianceNormalization into operators with float32 constants.
bool StaysFloat(const onnx::NodeProto& node) {
  const std::string& op = node.op_type();
  if (op == "ScatterElements" || op == "ScatterND") {
    for (const auto& attribute : node.attribute()) {
      if (attribute.name() == "reduction" && attribute.s() != "none") return true;
    }
  }
  return Among(op, {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike",
                    "EyeLike", "Bernoulli", "Multinomial", "QuantizeLinear", "DequantizeLinear",
                    "DynamicQuantizeLinear", "STFT", "DFT", "MelWeightMatrix",
                    "MeanVarianceNormalization"}) ||
         op.find("Sequence") != op.npos || op.find("Optional") != op.npos || op.ends_with("Window");
}

// Through these, arithmetic on sizes is followed back from a Cast to integers.
bool IsSizeArithmetic(std::string_view op) {
  return Among(op,
               {"Add",     "Sub",     "Mul",  "Div",      "Floor",  "Ceil",  "Round",  "Sqrt",
                "Neg",     "Min",     "Max",  "Clip",     "Concat", "Slice", "Gather", "Unsqueeze",
                "Squeeze", "Reshape", "Cast", "Identity", "Mod",    "Pow"});
}

bool AdmitsHalf(const onnx::OpSchema::FormalParameter* formal) {
  static const auto half = onnx::Utils::DataTypeUtils::ToType("tensor(float16)");
  return formal != nullptr && formal->GetTypes().contains(half);
}

}  // namespace

HalfPlan::HalfPlan(onnx::ModelProto& model, bool keep_io_types,
                   const std::function<bool(const onnx::NodeProto&)>& keep_float)
    : model_(model),
      keep_io_types_(keep_io_types),
      keep_float_(keep_float),
      index_(model),
      types_(model, index_) {
  KeepSizeArithmetic();
  Decide(*model.mutable_graph(), /*is_main=*/true);
  ChooseConstants();
}

bool HalfPlan::IsFloat(const onnx::GraphProto& graph, const std::string& name) const {
  return !name.empty() && types_.Find(graph, name) == DataType::kFloat;
}

bool HalfPlan::IsHalf(const onnx::GraphProto& graph, const std::string& name) const {
  return half_values_.contains({index_.DefiningGraph(graph, name), name});
}

void HalfPlan::SetHalf(const onnx::GraphProto& graph, const std::string& name) {
  half_values_.insert({index_.DefiningGraph(graph, name), name});
}

void HalfPlan::KeepSizeArithmetic() {
  std::vector<std::pair<onnx::GraphProto*, onnx::NodeProto*>> pending;
  ForEachGraph(model_, [&](onnx::GraphProto& graph, int) {
    for (onnx::NodeProto& node : *graph.mutable_node()) {
      const auto to = static_cast<DataType>(IntAttribute(node, "to", 0));
      if (node.op_type() == "Cast" && (to == DataType::kInt64 || to == DataType::kInt32) &&
          node.input_size() > 0 && IsFloat(graph, node.input(0))) {
        pending.emplace_back(&graph, &node);
      }
    }
  });
  while (!pending.empty()) {
    auto [graph, node] = pending.back();
    pending.pop_back();
    if (!size_arithmetic_.insert(node).second) continue;
    for (const std::string& input : node->input()) {
      onnx::NodeProto* producer = IsFloat(*graph, input) ? index_.Producer(*graph, input) : nullptr;
      if (producer == nullptr || !IsSizeArithmetic(producer->op_type())) continue;
      pending.emplace_back(index_.DefiningGraph(*graph, input), producer);
    }
  }
}

// Control flow always changes, so that its bodies agree with each other.
bool HalfPlan::MayChange(const onnx::GraphProto& graph, const onnx::NodeProto& node) const {
  if (IsControlFlow(node)) return true;
  if (!IsDefaultDomain(node.domain()) || StaysFloat(node) || size_arithmetic_.contains(&node) ||
      (keep_float_ && keep_float_(node))) {
    return false;
  }
  const onnx::OpSchema* schema = SchemaOf(model_, node);
  if (schema == nullptr || schema->Deprecated()) return false;
  // One type variable may not stand for two types: an unknown one beside a float makes the node
  // stay.
  std::map<std::string, bool> unknown, floats;
  for (int i = 0; i < node.input_size(); ++i) {
    const auto* formal = FormalInput(*schema, i);
    if (node.input(i).empty() || !AdmitsHalf(formal)) continue;
    const DataType type = types_.Find(graph, node.input(i));
    unknown[formal->GetTypeStr()] |= type == DataType::kUndefined;
    floats[formal->GetTypeStr()] |= type == DataType::kFloat;
  }
  return std::ranges::none_of(
      floats, [&](const auto& entry) { return entry.second && unknown[entry.first]; });
}

bool HalfPlan::InputIsHalf(const onnx::GraphProto& graph, const onnx::NodeProto& node,
                           int i) const {
  if (!IsFloat(graph, node.input(i)) || !Changes(node)) return false;
  return IsControlFlow(node) || AdmitsHalf(FormalInput(*SchemaOf(model_, node), i));
}

void HalfPlan::Decide(onnx::GraphProto& graph, bool is_main) {
  absl::flat_hash_set<std::string> initializers;
  for (const auto& tensor : graph.initializer()) initializers.insert(tensor.name());
  for (const auto& input : graph.input()) {
    const bool half = !is_main || !keep_io_types_;
    if (half && !initializers.contains(input.name()) && IsFloat(graph, input.name())) {
      SetHalf(graph, input.name());
    }
  }
  for (onnx::NodeProto& node : *graph.mutable_node()) {
    if (IsConstantNode(node)) continue;  // chosen by its readers
    for (onnx::AttributeProto& attribute : *node.mutable_attribute()) {
      if (attribute.has_g()) Decide(*attribute.mutable_g(), /*is_main=*/false);
    }
    DecideNode(graph, node);
  }
}

void HalfPlan::DecideNode(onnx::GraphProto& graph, const onnx::NodeProto& node) {
  bool touches_float = false;
  for (const auto* list : {&node.input(), &node.output()}) {
    for (const std::string& name : *list) touches_float |= IsFloat(graph, name);
  }
  if (!touches_float) return;
  if (!MayChange(graph, node)) {
    ++float_operators_[node.op_type()];
    return;
  }
  half_nodes_.insert(&node);
  const onnx::OpSchema* schema = IsControlFlow(node) ? nullptr : SchemaOf(model_, node);
  bool changed = schema == nullptr;
  for (int i = 0; i < node.input_size(); ++i) changed |= InputIsHalf(graph, node, i);
  for (int i = 0; i < node.output_size(); ++i) {
    if (!IsFloat(graph, node.output(i))) continue;
    if (schema == nullptr || AdmitsHalf(FormalOutput(*schema, i))) {
      SetHalf(graph, node.output(i));
      changed = true;
    }
  }
  if (!changed) ++float_operators_[node.op_type()];
}

void HalfPlan::ChooseConstants() {
  ForEachTensor(model_, [&](const TensorSite& site) {
    if (!site.value_name.empty() && Type(*site.tensor) == DataType::kFloat) ChooseConstant(site);
  });
}

// A constant becomes float16 where anyone reads it so; one that is a graph output keeps the
// output's type.
void HalfPlan::ChooseConstant(const TensorSite& site) {
  const auto skip = [&](SkipReason reason, std::string_view detail) {
    skips_.push_back(MakeSkip(reason, site.value_name, "", detail));
  };
  if (site.graph == nullptr) {
    return skip(SkipReason::kInsideFunction, "inline the model's functions first");
  }
  const auto& uses = index_.Uses(*site.graph, site.value_name);
  const bool output = index_.IsGraphOutput(*site.graph, site.value_name);
  if (uses.empty() && !output) return;
  if (output) return skip(SkipReason::kGraphOutput, "the tensor is itself an output");
  if (site.node == nullptr && index_.Constant(*site.graph, site.value_name) != site.tensor) {
    return skip(SkipReason::kOverridable, "also an input of the graph");
  }
  const bool wanted = std::ranges::any_of(
      uses, [&](const Use& use) { return InputIsHalf(*use.graph, *use.node, use.input); });
  if (!wanted) {
    return skip(SkipReason::kOperatorNeedsFloat,
                "read by " + uses[0].node->op_type() + ", which takes it as float32");
  }
  SetHalf(*site.graph, site.value_name);
  constants_.push_back(site);
}

}  // namespace modelpress
