// Preparing and running a graph: see graph.h.
#include "core/trainer/graph.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_join.h"
#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/trainer/constant_tensor.h"

namespace modelpress::trainer {
namespace {

constexpr std::string_view kMicrosoft = "com.microsoft";

// Which input of a node holds codes of a weight; -1: none.
int CodesInput(const onnx::NodeProto& node) {
  if (node.op_type() == "DequantizeLinear") return 0;
  if (node.domain() == kMicrosoft && node.op_type() == "MatMulNBits") return 1;
  if (node.domain() == kMicrosoft && node.op_type() == "GatherBlockQuantized") return 0;
  return -1;
}

// Declared element types by value name, as far as they are known.
absl::flat_hash_map<std::string, int32_t> ElementTypes(const onnx::GraphProto& graph) {
  absl::flat_hash_map<std::string, int32_t> types;
  for (const auto* list : {&graph.input(), &graph.value_info()}) {
    for (const onnx::ValueInfoProto& value : *list) {
      types[value.name()] = value.type().tensor_type().elem_type();
    }
  }
  for (const onnx::TensorProto& tensor : graph.initializer())
    types[tensor.name()] = tensor.data_type();
  for (const onnx::NodeProto& node : graph.node()) {
    const auto* value = FindAttribute(node, "value");
    if (IsConstantNode(node) && value != nullptr) types[node.output(0)] = value->t().data_type();
  }
  return types;
}

// libtorch's messages carry a stack trace after the first line.
std::string FirstLine(std::string_view text) {
  return std::string(text.substr(0, text.find('\n')));
}

}  // namespace

int Graph::Slot(const std::string& name) {
  if (name.empty()) return -1;
  const auto [place, is_new] = slots_.try_emplace(name, static_cast<int>(constants_.size()));
  if (is_new) constants_.emplace_back();
  return place->second;
}

absl::Status Graph::ReadConstants(const Model& model, const GraphOptions& options) {
  for (const onnx::TensorProto& tensor : model.proto().graph().initializer()) {
    const int slot = Slot(tensor.name());
    if (options.variables.contains(tensor.name())) {
      fed_.push_back(tensor.name());
      continue;
    }
    MP_ASSIGN_OR_RETURN(constants_[slot], TensorOf(model, tensor, options.float_type));
  }
  return absl::OkStatus();
}

absl::Status Graph::AddSteps(const Model& model, const GraphOptions& options) {
  const onnx::GraphProto& graph = model.proto().graph();
  const auto types = ElementTypes(graph);
  std::map<std::string, int64_t, std::less<>> opsets;
  for (const auto& import : model.proto().opset_import()) {
    opsets[IsDefaultDomain(import.domain()) ? "" : import.domain()] = import.version();
  }
  std::map<std::string, std::string> missing;  // operator and the first node
  for (const onnx::NodeProto& node : graph.node()) {
    const std::string domain = IsDefaultDomain(node.domain()) ? "" : node.domain();
    const auto* value = FindAttribute(node, "value");
    if (IsConstantNode(node) && value != nullptr) {
      const int slot = Slot(node.output(0));
      if (options.variables.contains(node.output(0))) {
        fed_.push_back(node.output(0));
      } else {
        MP_ASSIGN_OR_RETURN(constants_[slot], TensorOf(model, value->t(), options.float_type));
      }
      continue;
    }
    Step step{.node = node, .function = OperatorRegistry::Get().Find(domain, node.op_type())};
    if (step.function == nullptr) {
      missing.try_emplace(domain.empty() ? node.op_type() : domain + "." + node.op_type(),
                          NodeName(node));
      continue;
    }
    step.settings = {.opset = opsets[domain], .float_type = options.float_type};
    const int codes = CodesInput(node);
    for (int i = 0; i < node.input_size(); ++i) {
      const bool decoded = options.decoded.contains(node.input(i));
      if (decoded && i != codes) {
        return Error(ERROR_REASON_INTERNAL_BUG,
                     "codes that are trained have a reader of another kind")
            .Node(NodeName(node));
      }
      step.settings.decoded |= decoded;
      step.inputs.push_back(Slot(node.input(i)));
    }
    for (const std::string& output : node.output()) step.outputs.push_back(Slot(output));
    if (node.op_type() == "QuantizeLinear" && node.input_size() > 2 &&
        IntAttribute(node, "output_dtype", 0) == 0) {
      // The type of the codes is the zero point's, which may be wider here.
      auto* attribute = step.node.add_attribute();
      attribute->set_name("output_dtype");
      attribute->set_type(onnx::AttributeProto::INT);
      const auto type = types.find(node.input(2));
      attribute->set_i(type == types.end() ? 0 : type->second);
    }
    steps_.push_back(std::move(step));
  }
  if (missing.empty()) return absl::OkStatus();
  std::vector<std::string> names;
  for (const auto& [name, node] : missing) names.push_back(name);
  return Error(ERROR_REASON_OP_UNSUPPORTED,
               FormatString("the trainer has no operator {}", absl::StrJoin(names, ", ")))
      .Node(missing.begin()->second)
      .Op(names[0])
      .Remedy("leave the training out of the recipe");
}

absl::Status Graph::RunStep(const Step& step, std::vector<at::Tensor>& values,
                            bool batch_statistics) {
  Tensors inputs;
  inputs.reserve(step.inputs.size());
  for (const int slot : step.inputs) inputs.push_back(slot < 0 ? at::Tensor() : values[slot]);
  const auto failed = [&](ErrorReason reason, std::string_view what) {
    return Error(reason, FormatString("{} '{}' cannot be trained with: {}", step.node.op_type(),
                                      NodeName(step.node), FirstLine(what)))
        .Node(NodeName(step.node))
        .Op(step.node.op_type());
  };
  OperatorCall::Settings settings = step.settings;
  settings.batch_statistics = batch_statistics;
  try {
    Tensors outputs = step.function(OperatorCall(step.node, inputs, settings));
    for (size_t i = 0; i < step.outputs.size(); ++i) {
      if (step.outputs[i] < 0) continue;
      if (i >= outputs.size() || !outputs[i].defined()) {
        return failed(ERROR_REASON_OP_UNSUPPORTED, FormatString("it has no output {} here", i));
      }
      values[step.outputs[i]] = std::move(outputs[i]);
    }
    return absl::OkStatus();
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const OperatorError& error) {
    return failed(ERROR_REASON_OP_UNSUPPORTED, error.what());
  } catch (const std::exception& error) {
    return failed(ERROR_REASON_RUNTIME_FAILED, error.what());
  }
}

absl::Status Graph::FoldConstants() {
  const at::NoGradGuard no_gradients;
  std::vector<Step> left;
  for (Step& step : steps_) {
    const bool constant = std::ranges::all_of(
        step.inputs, [&](int slot) { return slot < 0 || constants_[slot].defined(); });
    if (!constant) {
      left.push_back(std::move(step));
      continue;
    }
    MP_RETURN_IF_ERROR(RunStep(step, constants_, /*batch_statistics=*/false));
  }
  steps_ = std::move(left);
  return absl::OkStatus();
}

void Graph::FindLastReaders() {
  std::vector<int> last(constants_.size(), -1);
  for (size_t i = 0; i < steps_.size(); ++i) {
    for (const auto* list : {&steps_[i].inputs, &steps_[i].outputs}) {
      for (const int slot : *list) {
        if (slot >= 0) last[slot] = static_cast<int>(i);
      }
    }
  }
  for (const std::string& output : outputs_) last[slots_.at(output)] = -1;
  for (size_t slot = 0; slot < last.size(); ++slot) {
    if (last[slot] >= 0 && !constants_[slot].defined()) {
      steps_[last[slot]].released.push_back(static_cast<int>(slot));
    }
  }
}

absl::StatusOr<std::unique_ptr<Graph>> Graph::Make(const Model& model,
                                                   const GraphOptions& options) {
  auto graph = std::unique_ptr<Graph>(new Graph);
  MP_RETURN_IF_ERROR(graph->ReadConstants(model, options));
  for (const onnx::ValueInfoProto& input : model.proto().graph().input()) {
    // Old models declare their initializers as inputs too.
    if (graph->slots_.contains(input.name())) continue;
    graph->Slot(input.name());
    graph->fed_.push_back(input.name());
  }
  MP_RETURN_IF_ERROR(graph->AddSteps(model, options));
  for (const onnx::ValueInfoProto& output : model.proto().graph().output()) {
    graph->outputs_.push_back(output.name());
  }
  graph->outputs_.insert(graph->outputs_.end(), options.more_outputs.begin(),
                         options.more_outputs.end());
  for (const std::string& output : graph->outputs_) graph->Slot(output);
  MP_RETURN_IF_ERROR(graph->FoldConstants());
  graph->FindLastReaders();
  return graph;
}

absl::StatusOr<Values> Graph::Run(const Values& fed, bool batch_statistics) const {
  std::vector<at::Tensor> values = constants_;
  for (const std::string& name : fed_) {
    const auto found = fed.find(name);
    if (found != fed.end()) values[slots_.at(name)] = found->second;
  }
  for (const Step& step : steps_) {
    MP_RETURN_IF_ERROR(RunStep(step, values, batch_statistics));
    for (const int slot : step.released) values[slot] = at::Tensor();
  }
  Values outputs;
  for (const std::string& name : outputs_) outputs[name] = values[slots_.at(name)];
  return outputs;
}

}  // namespace modelpress::trainer
