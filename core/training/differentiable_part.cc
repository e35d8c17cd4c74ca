// Cutting off heads that choose: see differentiable_part.h.
#include "core/training/differentiable_part.h"

#include <algorithm>

#include "absl/container/flat_hash_set.h"
#include "core/model/graph.h"
#include "core/rewrite/value_shapes.h"

namespace modelpress {
namespace {

constexpr std::string_view kChoosing[] = {"TopK",   "NonMaxSuppression", "ArgMax",
                                          "ArgMin", "NonZero",           "Unique"};
constexpr std::string_view kLayers[] = {"Conv",
                                        "ConvTranspose",
                                        "Gemm",
                                        "MatMul",
                                        "LSTM",
                                        "GRU",
                                        "RNN",
                                        "BatchNormalization",
                                        "LayerNormalization",
                                        "InstanceNormalization",
                                        "GroupNormalization"};

using Names = absl::flat_hash_set<std::string>;

// What of the main graph is computed from the inputs, and what stands behind a choice.
class Flow {
 public:
  explicit Flow(Model& model)
      : index_(model.mutable_proto()),
        graph_(*model.mutable_proto().mutable_graph()),
        shapes_(InferValueShapes(model.mutable_proto())) {
    for (const onnx::ValueInfoProto& input : graph_.input()) {
      if (index_.Constant(graph_, input.name()) == nullptr) inputs_.insert(input.name());
    }
    for (const onnx::TensorProto& tensor : graph_.initializer()) inputs_.erase(tensor.name());
    computed_ = inputs_;
    for (const onnx::NodeProto& node : graph_.node()) Follow(node);
  }

  std::optional<DifferentiablePart> Part(Model model) const {
    if (has_layers_behind_ || fed_.empty()) return std::nullopt;
    const bool reached = std::ranges::any_of(
        graph_.output(), [&](const auto& output) { return behind_.contains(output.name()); });
    if (!reached) return std::nullopt;
    DifferentiablePart part{.model = std::move(model), .values = fed_, .nodes = nodes_};
    onnx::GraphProto& graph = *part.model.mutable_proto().mutable_graph();
    const auto before = graph.output();
    graph.clear_output();
    Names named;
    for (const onnx::ValueInfoProto& output : before) {
      if (!behind_.contains(output.name()) && named.insert(output.name()).second) {
        *graph.add_output() = output;
      }
    }
    // The runtime knows their types.
    for (const std::string& value : fed_) {
      if (named.insert(value).second) graph.add_output()->set_name(value);
    }
    RemoveDead(part.model.mutable_proto());
    return part;
  }

 private:
  bool IsFloat(const std::string& value) const {
    const auto shapes = shapes_.find(&graph_);
    if (shapes == shapes_.end()) return true;
    const auto found = shapes->second.find(value);
    return found == shapes->second.end() || found->second.type == DataType::kUndefined ||
           IsFloatingPoint(found->second.type);
  }

  void Follow(const onnx::NodeProto& node) {
    const auto reads = [&](const auto& test) { return std::ranges::any_of(node.input(), test); };
    const bool behind = reads([&](const std::string& name) { return behind_.contains(name); });
    const bool chooses =
        IsDefaultDomain(node.domain()) && std::ranges::contains(kChoosing, node.op_type()) &&
        reads([&](const std::string& name) { return computed_.contains(name) && IsFloat(name); });
    const bool computed = reads([&](const std::string& name) { return computed_.contains(name); });
    for (const std::string& output : node.output()) {
      if (output.empty()) continue;
      if (computed) computed_.insert(output);
      if (behind || chooses) behind_.insert(output);
    }
    if (!behind && !chooses) return;
    if (chooses) nodes_.push_back(NodeName(node));
    has_layers_behind_ |=
        behind && std::ranges::contains(kLayers, node.op_type()) &&
        reads([&](const std::string& name) { return index_.Constant(graph_, name) != nullptr; });
    for (const std::string& input : node.input()) {
      if (!computed_.contains(input) || behind_.contains(input) || inputs_.contains(input) ||
          !IsFloat(input) || std::ranges::contains(fed_, input)) {
        continue;
      }
      fed_.push_back(input);
    }
  }

  GraphIndex index_;
  onnx::GraphProto& graph_;
  absl::flat_hash_map<const onnx::GraphProto*, GraphShapes> shapes_;
  Names inputs_, computed_, behind_;
  std::vector<std::string> fed_, nodes_;
  bool has_layers_behind_ = false;
};

}  // namespace

std::optional<DifferentiablePart> FindDifferentiablePart(const Model& model) {
  Model looked_at = model.Clone();
  return Flow(looked_at).Part(model.Clone());
}

}  // namespace modelpress
