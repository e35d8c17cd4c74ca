// Values that are computed from constants alone; see constant_expression.h.
#include "core/runtime/constant_expression.h"

#include <algorithm>
#include <functional>
#include <map>
#include <utility>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/runtime/session.h"

namespace modelpress {
namespace {

// More nodes than any exporter puts behind one weight.
constexpr int kMaxNodes = 256;

bool OnlyRearranges(const onnx::NodeProto& node) {
  constexpr std::string_view kOperators[] = {"Cast",     "Concat",   "Flatten", "Gather",
                                             "Identity", "Reshape",  "Slice",   "Transpose",
                                             "Squeeze",  "Unsqueeze"};
  return IsDefaultDomain(node.domain()) && node.output_size() == 1 &&
         std::ranges::find(kOperators, node.op_type()) != std::end(kOperators);
}

// Collects the nodes and constants behind a value as a model of its own. Names are numbered: the
// same name may mean two things in two graphs.
class Collector {
 public:
  Collector(const Model& model, const GraphIndex& index) : model_(model), index_(index) {
    onnx::ModelProto& proto = extract_.mutable_proto();
    proto.set_ir_version(model.proto().ir_version());
    *proto.mutable_opset_import() = model.proto().opset_import();
    proto.mutable_graph()->set_name("constant");
  }

  // The number of the value; nothing if it is not constant.
  absl::StatusOr<std::optional<std::string>> Add(const onnx::GraphProto& scope,
                                                 std::string_view name) {
    const onnx::GraphProto* graph = index_.DefiningGraph(scope, name);
    if (graph == nullptr) return std::nullopt;
    const auto key = std::pair(graph, std::string(name));
    if (const auto known = names_.find(key); known != names_.end()) return known->second;
    std::string fresh = FormatString("v{}", names_.size());
    if (const onnx::TensorProto* tensor = index_.Constant(*graph, name)) {
      MP_RETURN_IF_ERROR(AddConstant(*tensor, fresh, name));
    } else {
      const onnx::NodeProto* producer = index_.Producer(*graph, name);
      if (producer == nullptr || !OnlyRearranges(*producer) || ++nodes_ > kMaxNodes) {
        return std::nullopt;
      }
      onnx::NodeProto node = *producer;
      for (int i = 0; i < node.input_size(); ++i) {
        if (node.input(i).empty()) continue;
        MP_ASSIGN_OR_RETURN(const auto input, Add(*graph, node.input(i)));
        if (!input.has_value()) return std::nullopt;
        node.set_input(i, *input);
      }
      fresh = FormatString("v{}", names_.size());
      node.set_output(0, fresh);
      *extract_.mutable_proto().mutable_graph()->add_node() = std::move(node);
    }
    names_[key] = fresh;
    return fresh;
  }

  absl::StatusOr<Tensor> Evaluate(const std::string& name) {
    auto& output = *extract_.mutable_proto().mutable_graph()->add_output();
    output.set_name(name);
    output.mutable_type()->mutable_tensor_type()->set_elem_type(onnx::TensorProto::FLOAT);
    MP_ASSIGN_OR_RETURN(const auto session, Session::Create(extract_, {.optimize = false}));
    MP_ASSIGN_OR_RETURN(TensorMap values, session->Run({}));
    return std::move(values.at(name));
  }

  std::vector<std::string> sources() {
    std::ranges::stable_sort(sources_, std::greater(), &std::pair<uint64_t, std::string>::first);
    std::vector<std::string> names;
    for (const auto& [size, name] : sources_) names.push_back(name);
    return names;
  }

 private:
  absl::Status AddConstant(const onnx::TensorProto& tensor, const std::string& name,
                           std::string_view original) {
    onnx::TensorProto* copy = extract_.mutable_proto().mutable_graph()->add_initializer();
    MP_ASSIGN_OR_RETURN(const auto bytes, model_.Bytes(tensor));
    if (IsFloatingPoint(Type(tensor))) sources_.emplace_back(bytes.size(), original);
    copy->set_name(name);
    if (const WeightRef* weight = model_.Weight(tensor)) {
      return extract_.SetWeight(copy, Type(tensor), Dims(tensor), *weight);
    }
    return extract_.SetInline(copy, Type(tensor), Dims(tensor), bytes);
  }

  const Model& model_;
  const GraphIndex& index_;
  Model extract_;
  std::map<std::pair<const onnx::GraphProto*, std::string>, std::string> names_;
  int nodes_ = 0;
  std::vector<std::pair<uint64_t, std::string>> sources_;
};

}  // namespace

absl::StatusOr<std::optional<ConstantExpression>> EvaluateConstantExpression(
    const Model& model, const GraphIndex& index, const onnx::GraphProto& scope,
    std::string_view name) {
  if (name.empty() || index.Constant(scope, name) != nullptr) return std::nullopt;
  Collector collector(model, index);
  MP_ASSIGN_OR_RETURN(const auto value, collector.Add(scope, name));
  if (!value.has_value()) return std::nullopt;
  auto evaluated = collector.Evaluate(*value);
  if (!evaluated.ok()) return std::nullopt;
  return ConstantExpression{.value = *std::move(evaluated), .sources = collector.sources()};
}

absl::StatusOr<std::vector<FoldedInput>> FoldConstantInputs(Model& model, WeightArena& arena,
                                                            const WantsConstant& wanted,
                                                            const Cancellation& cancellation) {
  struct Folded {
    std::string name;
    std::vector<int64_t> dims;
    WeightArena::Room room;
  };
  std::vector<Folded> folded;
  std::vector<FoldedInput> inputs;
  UniqueNames names(model.proto());
  const GraphIndex index(model.mutable_proto());
  absl::Status failure;
  const auto fold = [&](onnx::GraphProto& graph, onnx::NodeProto& node, int i) -> absl::Status {
    MP_RETURN_IF_ERROR(cancellation.Check());
    MP_ASSIGN_OR_RETURN(const auto found,
                        EvaluateConstantExpression(model, index, graph, node.input(i)));
    if (!found.has_value() || found->value.type != DataType::kFloat) return absl::OkStatus();
    const Tensor& value = found->value;
    auto same = std::ranges::find_if(folded, [&](const Folded& other) {
      return other.dims == value.dims && std::ranges::equal(other.room.bytes, value.bytes);
    });
    if (same == folded.end()) {
      MP_ASSIGN_OR_RETURN(WeightArena::Room room, arena.Allocate(value.bytes.size()));
      std::ranges::copy(value.bytes, room.bytes.begin());
      const std::string base = found->sources.empty() ? node.input(i) : found->sources[0];
      same =
          folded.insert(folded.end(), {names.Make(base + "_folded"), value.dims, std::move(room)});
    }
    inputs.push_back({&node, i, node.input(i), same->name, found->sources});
    return absl::OkStatus();
  };
  ForEachGraph(model.mutable_proto(), [&](onnx::GraphProto& graph, int) {
    for (onnx::NodeProto& node : *graph.mutable_node()) {
      for (int i = 0; i < node.input_size() && failure.ok(); ++i) {
        if (!node.input(i).empty() && wanted(node, i)) failure = fold(graph, node, i);
      }
    }
  });
  MP_RETURN_IF_ERROR(failure);
  for (const FoldedInput& input : inputs) input.node->set_input(input.input, input.name);
  for (Folded& value : folded) {
    onnx::TensorProto* tensor = model.mutable_proto().mutable_graph()->add_initializer();
    tensor->set_name(value.name);
    MP_RETURN_IF_ERROR(
        model.SetBytes(tensor, DataType::kFloat, value.dims, std::move(value.room.weight)));
  }
  return inputs;
}

}  // namespace modelpress
