// A real conversion of the default domain, with the weights kept; see opset_conversion.h.
#include "core/quant/opset_conversion.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <map>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/model/graph.h"
#include "core/quant/opset_lowering.h"
#include "core/quant/opset_relabel.h"
#include "onnx/shape_inference/implementation.h"
#include "onnx/version_converter/convert.h"

namespace modelpress {
namespace {

Error Refusal(int64_t from, int64_t to, std::string_view why) {
  Error error(ERROR_REASON_OPSET_UNSUPPORTED,
              FormatString("cannot convert from opset {} to {}: {}", from, to, why));
  error.With("domain", "ai.onnx").With("opset", std::to_string(to));
  return error;
}

// Weights taken out of a skeleton: as initializers of the main graph, in the order in which they
// were found.
class Detached {
 public:
  // Every weight becomes an input of the main graph. Names that occur in several graphs are made
  // unique first.
  explicit Detached(onnx::ModelProto& model) {
    std::map<std::string, int> definitions;
    ForEachTensor(model, [&](const TensorSite& site) {
      if (IsDetachable(site)) ++definitions[site.value_name];
    });
    UniqueNames names(model);
    ForEachGraph(model, [&](onnx::GraphProto& graph, int depth) {
      const auto move = [&](onnx::TensorProto& tensor, std::string name) {
        // Two branches may each have a "W"; hidden behind one input they would be one.
        if (depth > 0 && definitions[name] > 1) {
          std::string fresh = names.Make(name);
          ReplaceAllUses(graph, name, fresh);
          name = std::move(fresh);
        }
        tensor.set_name(std::move(name));
        tensors_.push_back(std::move(tensor));
      };
      auto& initializers = *graph.mutable_initializer();
      Keep(&initializers, [&](onnx::TensorProto& tensor) {
        if (!IsWeight(tensor)) return true;
        std::string name = tensor.name();
        move(tensor, std::move(name));
        return false;
      });
      Keep(graph.mutable_node(), [&](onnx::NodeProto& node) {
        onnx::TensorProto* tensor = ConstantWeight(node);
        if (tensor == nullptr) return true;
        move(*tensor, node.output(0));
        return false;
      });
    });
    for (const onnx::TensorProto& tensor : tensors_) {
      onnx::ValueInfoProto& input = *model.mutable_graph()->add_input();
      input.set_name(tensor.name());
      auto& type = *input.mutable_type()->mutable_tensor_type();
      type.set_elem_type(tensor.data_type());
      auto& shape = *type.mutable_shape();
      for (const int64_t extent : tensor.dims()) shape.add_dim()->set_dim_value(extent);
    }
  }

  const std::vector<onnx::TensorProto>& tensors() const { return tensors_; }

 private:
  static bool IsWeight(const onnx::TensorProto& tensor) {
    return tensor.data_location() == onnx::TensorProto::EXTERNAL;
  }
  static bool IsDetachable(const TensorSite& site) {
    return site.graph != nullptr && !site.value_name.empty();
  }
  static onnx::TensorProto* ConstantWeight(onnx::NodeProto& node) {
    if (!IsConstantNode(node)) return nullptr;
    for (onnx::AttributeProto& attribute : *node.mutable_attribute()) {
      if (attribute.name() == "value" && IsWeight(attribute.t())) return attribute.mutable_t();
    }
    return nullptr;
  }
  template <typename List, typename Predicate>
  static void Keep(List* list, const Predicate& keep) {
    int kept = 0;
    for (int i = 0; i < list->size(); ++i) {
      if (keep(*list->Mutable(i))) list->SwapElements(kept++, i);
    }
    list->DeleteSubrange(kept, list->size() - kept);
  }

  std::vector<onnx::TensorProto> tensors_;
};

// The versions after this one hardly added more than types, which libonnx's converter knows nothing of.
constexpr int64_t kOldestTypesOpset = 18;

// Small integers as a list or as bytes. libonnx's adapters read the list only, and take bytes for an empty one: reductions
// along axes became reductions of everything.
void SetIntegers(onnx::ModelProto& model, bool as_list) {
  ForEachTensor(model, [&](const TensorSite& site) {
    onnx::TensorProto& tensor = *site.tensor;
    if (tensor.data_type() != onnx::TensorProto::INT64 ||
        tensor.data_location() == onnx::TensorProto::EXTERNAL)
      return;
    if (as_list && !tensor.raw_data().empty() && tensor.raw_data().size() % sizeof(int64_t) == 0) {
      std::vector<int64_t> values(tensor.raw_data().size() / sizeof(int64_t));
      std::memcpy(values.data(), tensor.raw_data().data(), tensor.raw_data().size());
      tensor.mutable_int64_data()->Add(values.begin(), values.end());
      tensor.clear_raw_data();
    } else if (!as_list && tensor.int64_data_size() > 0) {
      tensor.set_raw_data(tensor.int64_data().data(),
                          static_cast<size_t>(tensor.int64_data_size()) * sizeof(int64_t));
      tensor.clear_int64_data();
    }
  });
}

// Names of everything that people and programs address a graph by.
std::vector<std::string> OutsideNames(const onnx::GraphProto& graph) {
  std::vector<std::string> names;
  for (const auto& input : graph.input()) names.push_back(input.name());
  for (const auto& output : graph.output()) names.push_back(output.name());
  return names;
}

std::map<std::string, int> Graphs(const onnx::ModelProto& model) {
  std::map<std::string, int> counts;
  ForEachGraph(model, [&](const onnx::GraphProto& graph, int depth) {
    counts[FormatString("depth {}", depth)] += 1;
    for (const onnx::NodeProto& node : graph.node()) {
      if (!IsDefaultDomain(node.domain())) ++counts[node.domain() + "." + node.op_type()];
    }
  });
  return counts;
}

bool Contradict(const onnx::TypeProto& a, const onnx::TypeProto& b) {
  if (a.value_case() != b.value_case()) return true;
  if (!a.has_tensor_type() || !a.tensor_type().has_shape() || !b.tensor_type().has_shape())
    return false;
  const auto& x = a.tensor_type().shape();
  const auto& y = b.tensor_type().shape();
  if (x.dim_size() != y.dim_size()) return true;
  for (int i = 0; i < x.dim_size(); ++i) {
    const bool known = x.dim(i).has_dim_value() && y.dim(i).has_dim_value();
    if (known && x.dim(i).dim_value() != y.dim(i).dim_value()) return true;
  }
  return false;
}

// The name of an input or output with another shape in `b`, whose names are those of `a`; empty if there is none. (The
// adapter of Scan 8 to 9 drops the batch axis of the model's own inputs.)
std::string ChangedOutside(const onnx::GraphProto& a, const onnx::GraphProto& b) {
  for (int i = 0; i < a.input_size(); ++i) {
    if (Contradict(a.input(i).type(), b.input(i).type())) return a.input(i).name();
  }
  for (int i = 0; i < a.output_size(); ++i) {
    if (Contradict(a.output(i).type(), b.output(i).type())) return a.output(i).name();
  }
  return "";
}

// Going back, libonnx's adapters turn the input `axes` into an attribute, and read it where it was left out too: a read
// beyond the end (AxesInputToAttribute, libonnx 1.17). Null if there is no such node.
const onnx::NodeProto* NodeWithoutAxes(const onnx::ModelProto& model) {
  const onnx::NodeProto* found = nullptr;
  ForEachGraph(model, [&](const onnx::GraphProto& graph, int) {
    for (const onnx::NodeProto& node : graph.node()) {
      const std::string& op = node.op_type();
      const bool has_axes = op == "Squeeze" || op == "Unsqueeze" || op.starts_with("Reduce");
      if (has_axes && node.input_size() < 2 && IsDefaultDomain(node.domain())) found = &node;
    }
  });
  return found;
}

}  // namespace

absl::Status ConvertDefaultDomain(Model& model, int64_t target) {
  const int64_t from = model.opset();
  if (from == target) return absl::OkStatus();
  if (target < kOldestOpset || target > kNewestOpset) {
    return Refusal(from, target, FormatString("supported are {} to {}", kOldestOpset, kNewestOpset))
        .Remedy("choose a version in that range");
  }
  if (model.proto().functions_size() > 0) {
    return Refusal(from, target, "the model has functions of its own, which are not converted")
        .Remedy("export the model without functions");
  }
  // As far back as the same graph is valid, or can be said in older words, without libonnx, which has no way back for most of the newest versions.
  absl::Status relabelled;
  if (target < from) {
    for (const int64_t back : {std::max(target, kOldestRelabelledOpset), kOldestTypesOpset}) {
      if (back < target || back >= from) continue;
      Model copy = model.Clone();
      LowerNodes(copy, back);
      relabelled = RelabelOpset(copy, back);
      if (!relabelled.ok()) continue;
      if (back != target) MP_RETURN_IF_ERROR(ConvertDefaultDomain(copy, target));
      model = std::move(copy);
      return absl::OkStatus();
    }
  }
  if (const onnx::NodeProto* node = target < from ? NodeWithoutAxes(model.proto()) : nullptr) {
    return Refusal(from, target,
                   FormatString("{} without axes cannot be taken back", node->op_type()))
        .Node(node->name().empty() && node->output_size() > 0 ? node->output(0) : node->name())
        .Remedy("give the operator its axes, or keep the opset");
  }
  onnx::ModelProto skeleton = model.proto();
  const Detached weights(skeleton);
  const std::vector<std::string> names = OutsideNames(skeleton.graph());
  const std::map<std::string, int> graphs = Graphs(skeleton);
  SetIntegers(skeleton, /*as_list=*/true);
  onnx::ModelProto converted;
  try {
    // Some adapters ask for ranks (Softmax 12 to 13).
    onnx::shape_inference::InferShapes(skeleton);
    converted = onnx::version_conversion::ConvertVersion(skeleton, static_cast<int>(target));
  } catch (const std::exception& error) {
    if (!relabelled.ok()) return relabelled;
    return Refusal(from, target, error.what())
        .Remedy("export the model at the newer opset, or leave out the step that needs it");
  }
  SetIntegers(converted, /*as_list=*/false);
  if (OutsideNames(converted.graph()) != names || Graphs(converted) != graphs) {
    return Refusal(from, target, "the converter lost a part of the graph")
        .Remedy("export the model at the newer opset");
  }
  if (const std::string name = ChangedOutside(model.proto().graph(), converted.graph());
      !name.empty()) {
    return Refusal(from, target, FormatString("the converter would change the shape of '{}'", name))
        .Remedy("export the model at the newer opset");
  }
  onnx::GraphProto& graph = *converted.mutable_graph();
  const int own_inputs = graph.input_size() - static_cast<int>(weights.tensors().size());
  // Inferred shapes were for the converter; they would be a part of small files.
  absl::flat_hash_set<std::string> described;
  for (const auto& value : model.proto().graph().value_info()) described.insert(value.name());
  auto& infos = *graph.mutable_value_info();
  infos.erase(std::remove_if(infos.begin(), infos.end(),
                             [&](const auto& value) { return !described.contains(value.name()); }),
              infos.end());
  graph.mutable_input()->DeleteSubrange(own_inputs, graph.input_size() - own_inputs);
  for (const onnx::TensorProto& tensor : weights.tensors()) *graph.add_initializer() = tensor;

  // Of the model around the graph the converter knows little: only the graph and its version are
  // taken.
  onnx::ModelProto& proto = model.mutable_proto();
  std::string doc = std::move(*proto.mutable_graph()->mutable_doc_string());
  *proto.mutable_graph() = std::move(graph);
  proto.mutable_graph()->set_doc_string(std::move(doc));
  for (auto& import : *proto.mutable_opset_import()) {
    if (IsDefaultDomain(import.domain())) import.set_version(target);
  }
  return absl::OkStatus();
}

}  // namespace modelpress
