// Validation: see validate.h.
#include "core/formats/onnx/validate.h"

#include <algorithm>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/model/graph.h"
#include "core/model/tensor_type.h"
#include "onnx/checker.h"

namespace modelpress::onnx_format {
namespace {

Error Malformed(std::string message) {
  return Error(ERROR_REASON_MODEL_MALFORMED, message).Remedy("export the model again");
}

// Whether the file has anything that IR 10 (ONNX 1.17) does not define: newer element types, or fields that this
// protobuf does not know (device configurations of IR 11).
bool UsesNewerIr(const onnx::ModelProto& model) {
  bool newer = !model.unknown_fields().empty();
  ForEachGraph(model, [&](const onnx::GraphProto& graph, int) {
    newer = newer || !graph.unknown_fields().empty();
    for (const onnx::NodeProto& node : graph.node()) {
      newer = newer || !node.unknown_fields().empty();
    }
  });
  ForEachTensor(model, [&](const onnx::TensorProto& tensor) {
    newer = newer || tensor.data_type() >= static_cast<int>(DataType::kFloat4E2M1) ||
            !tensor.unknown_fields().empty();
  });
  return newer;
}

absl::Status CheckOpset(const onnx::OperatorSetIdProto& import) {
  const bool standard = IsDefaultDomain(import.domain());
  if (!standard && import.domain() != "ai.onnx.ml") return absl::OkStatus();
  const int64_t newest = standard ? kMaxOpset : kMaxMlOpset;
  if (import.version() < 1) {
    return Malformed(FormatString("opset {} of domain \"{}\" does not exist", import.version(),
                                  import.domain()));
  }
  if (import.version() <= newest) return absl::OkStatus();
  return Error(
             ERROR_REASON_OPSET_UNSUPPORTED,
             FormatString("opset {} of domain \"{}\" is newer than {}, the newest that can be run",
                          import.version(), standard ? "ai.onnx" : import.domain(), newest))
      .With("domain", import.domain())
      .With("opset", std::to_string(import.version()))
      .Remedy(FormatString("export the model with opset {} or lower", newest));
}

template <typename Imports>
absl::Status CheckImports(const Imports& imports) {
  absl::flat_hash_map<std::string, int64_t> versions;
  for (const onnx::OperatorSetIdProto& import : imports) {
    MP_RETURN_IF_ERROR(CheckOpset(import));
    const std::string domain = IsDefaultDomain(import.domain()) ? "" : import.domain();
    const auto [found, is_new] = versions.try_emplace(domain, import.version());
    if (!is_new && found->second != import.version()) {
      return Malformed(FormatString("domain \"{}\" is imported with two versions, {} and {}",
                                    domain, found->second, import.version()));
    }
  }
  return absl::OkStatus();
}

// One graph or function body and the ones around it.
struct Scope {
  const Scope* parent = nullptr;
  absl::flat_hash_set<std::string_view> names;

  bool Sees(std::string_view name) const {
    for (const Scope* at = this; at != nullptr; at = at->parent) {
      if (at->names.contains(name)) return true;
    }
    return false;
  }
};

absl::Status CheckGraph(const onnx::GraphProto& graph, const Scope* parent);

template <typename Nodes>
absl::Status DefineOutputs(const Nodes& nodes, Scope* scope) {
  for (const onnx::NodeProto& node : nodes) {
    if (node.op_type().empty()) {
      return Malformed(FormatString("node \"{}\" has no operator type", node.name()))
          .Node(node.name());
    }
    for (const std::string& output : node.output()) {
      if (output.empty() || scope->names.insert(output).second) continue;
      return Malformed(
                 FormatString("value \"{}\", made by node \"{}\" ({}), is defined twice in its "
                              "graph",
                              output, node.name(), node.op_type()))
          .Node(node.name())
          .Tensor(output);
    }
  }
  return absl::OkStatus();
}

template <typename Nodes>
absl::Status CheckReads(const Nodes& nodes, const Scope& scope) {
  for (const onnx::NodeProto& node : nodes) {
    for (const std::string& input : node.input()) {
      if (input.empty() || scope.Sees(input)) continue;
      return Malformed(FormatString("node \"{}\" ({}) reads \"{}\", which nothing defines",
                                    node.name(), node.op_type(), input))
          .Node(node.name())
          .Tensor(input);
    }
    for (const onnx::AttributeProto& attribute : node.attribute()) {
      if (attribute.has_g()) MP_RETURN_IF_ERROR(CheckGraph(attribute.g(), &scope));
      for (const onnx::GraphProto& graph : attribute.graphs()) {
        MP_RETURN_IF_ERROR(CheckGraph(graph, &scope));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status CheckGraph(const onnx::GraphProto& graph, const Scope* parent) {
  Scope scope{parent, {}};
  absl::flat_hash_set<std::string_view> inputs;
  for (const onnx::ValueInfoProto& input : graph.input()) {
    if (input.name().empty()) return Malformed("a graph input has no name");
    if (!inputs.insert(input.name()).second) {
      return Malformed(FormatString("graph input \"{}\" is listed twice", input.name()))
          .Tensor(input.name());
    }
    scope.names.insert(input.name());
  }
  absl::flat_hash_set<std::string_view> initializers;
  auto add_initializer = [&](const std::string& name) -> absl::Status {
    if (name.empty()) return Malformed("an initializer has no name");
    if (!initializers.insert(name).second) {
      return Malformed(FormatString("there are two initializers \"{}\"", name)).Tensor(name);
    }
    scope.names.insert(name);
    return absl::OkStatus();
  };
  for (const auto& tensor : graph.initializer()) {
    MP_RETURN_IF_ERROR(add_initializer(tensor.name()));
  }
  for (const auto& sparse : graph.sparse_initializer()) {
    MP_RETURN_IF_ERROR(add_initializer(sparse.values().name()));
  }
  MP_RETURN_IF_ERROR(DefineOutputs(graph.node(), &scope));
  for (const onnx::ValueInfoProto& output : graph.output()) {
    if (!scope.Sees(output.name())) {
      return Malformed(FormatString("nothing makes the graph's output \"{}\"", output.name()))
          .Tensor(output.name());
    }
  }
  return CheckReads(graph.node(), scope);
}

absl::Status CheckFunction(const onnx::FunctionProto& function) {
  Scope scope;
  for (const std::string& input : function.input()) scope.names.insert(input);
  MP_RETURN_IF_ERROR(DefineOutputs(function.node(), &scope));
  return CheckReads(function.node(), scope);
}

// Names "domain:name" of the operators that the node and its subgraphs use.
void CollectOperators(const onnx::NodeProto& node, std::vector<std::string>* operators) {
  operators->push_back(node.domain() + ":" + node.op_type());
  for (const onnx::AttributeProto& attribute : node.attribute()) {
    for (const onnx::NodeProto& inner : attribute.g().node()) CollectOperators(inner, operators);
    for (const onnx::GraphProto& graph : attribute.graphs()) {
      for (const onnx::NodeProto& inner : graph.node()) CollectOperators(inner, operators);
    }
  }
}

// Functions are expanded by whoever runs the model: one that calls itself, also through others, has no expansion.
absl::Status CheckFunctionCalls(const onnx::ModelProto& model) {
  const int count = model.functions_size();
  absl::flat_hash_map<std::string, int> index;
  for (int i = 0; i < count; ++i) {
    index[model.functions(i).domain() + ":" + model.functions(i).name()] = i;
  }
  std::vector<int> open_calls(count, 0);
  std::vector<std::vector<int>> callers(count);
  for (int i = 0; i < count; ++i) {
    std::vector<std::string> operators;
    for (const onnx::NodeProto& node : model.functions(i).node()) {
      CollectOperators(node, &operators);
    }
    for (const std::string& callee : operators) {
      const auto found = index.find(callee);
      if (found == index.end()) continue;
      callers[found->second].push_back(i);
      ++open_calls[i];
    }
  }
  // Takes away functions that call no function that is still there; a cycle never goes.
  std::vector<int> ready;
  for (int i = 0; i < count; ++i) {
    if (open_calls[i] == 0) ready.push_back(i);
  }
  for (size_t next = 0; next < ready.size(); ++next) {
    for (const int caller : callers[ready[next]]) {
      if (--open_calls[caller] == 0) ready.push_back(caller);
    }
  }
  for (int i = 0; i < count; ++i) {
    if (open_calls[i] == 0) continue;
    return Malformed(FormatString("function \"{}\" calls itself", model.functions(i).name()))
        .Op(model.functions(i).name());
  }
  return absl::OkStatus();
}

absl::Status AskChecker(const onnx::ModelProto& model) {
  try {
    onnx::checker::check_model(model);
  } catch (const std::exception& error) {
    return Malformed(FormatString("the ONNX checker refuses the model: {}", error.what()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status NormaliseVersions(onnx::ModelProto* model) {
  if (!model->has_ir_version() || model->ir_version() < 1) {
    return Malformed("the model has no ir_version");
  }
  if (model->ir_version() > kMaxIrVersion) {
    if (model->ir_version() > kNewestKnownIrVersion || UsesNewerIr(*model)) {
      return Error(ERROR_REASON_OPSET_UNSUPPORTED,
                   FormatString("the model has IR version {}, and what it uses of it is not known "
                                "to IR {}, the newest that can be run",
                                model->ir_version(), kMaxIrVersion))
          .Remedy(FormatString("export the model with IR version {} or lower", kMaxIrVersion));
    }
    model->set_ir_version(kMaxIrVersion);
  }
  MP_RETURN_IF_ERROR(CheckImports(model->opset_import()));
  for (const onnx::FunctionProto& function : model->functions()) {
    MP_RETURN_IF_ERROR(CheckImports(function.opset_import()));
  }
  if (model->opset_import_size() == 0) {
    // Before IR 3 there were no imports: operators were those of opset 1 (onnx.proto, ModelProto.opset_import).
    if (model->ir_version() >= 3) return Malformed("the model imports no operator set");
    onnx::OperatorSetIdProto* import = model->add_opset_import();
    import->set_domain("");
    import->set_version(1);
  }
  if (model->ir_version() >= 4) return absl::OkStatus();
  model->set_ir_version(4);
  ForEachGraph(*model, [](onnx::GraphProto& graph, int) {
    absl::flat_hash_set<std::string_view> constants;
    for (const auto& tensor : graph.initializer()) constants.insert(tensor.name());
    auto* inputs = graph.mutable_input();
    int kept = 0;
    for (int i = 0; i < inputs->size(); ++i) {
      if (!constants.contains(inputs->Get(i).name())) inputs->SwapElements(kept++, i);
    }
    inputs->DeleteSubrange(kept, inputs->size() - kept);
  });
  return absl::OkStatus();
}

absl::Status ValidateStructure(onnx::ModelProto* model) {
  if (!model->has_graph()) return Malformed("the file has no graph");
  if (model->graph().output_size() == 0) return Malformed("the graph has no outputs");
  MP_RETURN_IF_ERROR(CheckGraph(model->graph(), nullptr));
  for (const onnx::FunctionProto& function : model->functions()) {
    MP_RETURN_IF_ERROR(CheckFunction(function));
  }
  MP_RETURN_IF_ERROR(CheckFunctionCalls(*model));
  MP_RETURN_IF_ERROR(SortTopologically(*model));
  return AskChecker(*model);
}

}  // namespace modelpress::onnx_format
