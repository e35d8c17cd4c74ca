// Layers with integer kernels; see qdq_layers.h.
#include "core/quant/qdq_layers.h"

#include <algorithm>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/quant/skip.h"
#include "core/quant/value_types.h"
#include "core/quant/weight_selection.h"

namespace modelpress {
namespace {

bool Among(std::string_view value, std::initializer_list<std::string_view> list) {
  return std::ranges::find(list, value) != list.end();
}

class Finder {
 public:
  Finder(Model& model, const GraphIndex& index)
      : model_(model), index_(index), types_(model.mutable_proto(), index) {}

  QdqLayers Run() {
    ForEachNamedGraph(model_.mutable_proto(),
                      [&](onnx::GraphProto& graph, const std::string& path) {
                        for (onnx::NodeProto& node : *graph.mutable_node()) {
                          if (IsDefaultDomain(node.domain())) Visit(graph, path, node);
                        }
                      });
    return std::move(result_);
  }

 private:
  void Skip(const onnx::NodeProto& node, SkipReason reason, std::string_view detail) {
    const std::string_view tensor =
        node.input_size() > 1 ? std::string_view(node.input(1)) : std::string_view();
    result_.skips.push_back(MakeSkip(reason, tensor, node.name(), detail));
  }

  // The float32 constant that input `i` is, or null.
  const onnx::TensorProto* FloatConstant(const onnx::GraphProto& graph, const onnx::NodeProto& node,
                                         int i) const {
    if (node.input_size() <= i || node.input(i).empty()) return nullptr;
    const onnx::TensorProto* tensor = index_.Constant(graph, node.input(i));
    return tensor != nullptr && Type(*tensor) == DataType::kFloat ? tensor : nullptr;
  }

  bool IsFloatActivation(const onnx::GraphProto& graph, const std::string& name) const {
    return index_.Constant(graph, name) == nullptr && types_.Find(graph, name) == DataType::kFloat;
  }

  void Visit(const onnx::GraphProto& graph, const std::string& path, const onnx::NodeProto& node) {
    const std::string& op = node.op_type();
    if (Among(op, {"ConvTranspose", "LSTM", "GRU", "RNN"})) {
      Skip(node, SkipReason::kOperatorNeedsFloat,
           FormatString("the runtime has no integer kernel of {} with fixed ranges", op));
      return;
    }
    if (!Among(op, {"Conv", "MatMul", "Gemm"}) || node.output_size() < 1) return;
    QdqLayer layer;
    layer.key = {path, node.output(0)};
    layer.node = node.name();
    layer.op_type = op;
    for (int i = 0; i < std::min(node.input_size(), 2); ++i) {
      const onnx::NodeProto* producer = index_.Producer(graph, node.input(i));
      if (producer != nullptr && producer->op_type() == "DequantizeLinear") {
        Skip(node, SkipReason::kAlreadyQuantized, "it reads codes already");
        return;
      }
      if (const onnx::TensorProto* tensor = FloatConstant(graph, node, i)) {
        if (layer.weight.has_value()) {
          Skip(node, SkipReason::kConstantTensor, "both of its inputs are constants");
          return;
        }
        layer.weight = i;
        layer.weight_name = node.input(i);
        layer.channel_axis = ChannelAxis({nullptr, const_cast<onnx::NodeProto*>(&node), i},
                                         static_cast<size_t>(tensor->dims_size()));
      } else if (IsFloatActivation(graph, node.input(i))) {
        layer.activations.push_back(i);
      } else {
        Skip(node, SkipReason::kNotFloat, FormatString("'{}' is not float32", node.input(i)));
        return;
      }
    }
    if (std::string problem = Complete(graph, node, &layer); !problem.empty()) {
      Skip(node, SkipReason::kOperatorNeedsFloat, problem);
      return;
    }
    result_.layers.push_back(std::move(layer));
  }

  // What the kernel asks for beyond its inputs' types; empty if all is well.
  std::string Complete(const onnx::GraphProto& graph, const onnx::NodeProto& node,
                       QdqLayer* layer) const {
    const std::string& op = node.op_type();
    const bool has_third = node.input_size() > 2 && !node.input(2).empty();
    if (op == "MatMul") {
      // Scales for columns of a matrix; not for rows of A, nor for a stack of matrices.
      const onnx::TensorProto* tensor =
          layer->weight.has_value() ? FloatConstant(graph, node, *layer->weight) : nullptr;
      if (tensor != nullptr && (*layer->weight != 1 || tensor->dims_size() != 2)) {
        layer->channel_axis.reset();
      }
      if (tensor != nullptr && tensor->dims_size() < 2) return "its weight is a vector";
      return "";
    }
    if (layer->weight != 1) return "its weight is not a constant";
    if (op == "Conv") layer->quantizes_output = true;
    if (op == "Gemm") {
      if (FloatAttribute(node, "alpha", 1) != 1 && has_third) {
        return "alpha is not 1: its bias has another scale than its products";
      }
      if (has_third && FloatAttribute(node, "beta", 1) != 1) return "beta is not 1";
    }
    if (!has_third) return "";
    const onnx::TensorProto* bias = FloatConstant(graph, node, 2);
    const onnx::TensorProto* weight = FloatConstant(graph, node, 1);
    const auto channels =
        layer->channel_axis.has_value() ? weight->dims(static_cast<int>(*layer->channel_axis)) : 0;
    if (bias == nullptr || bias->dims_size() != 1 || bias->dims(0) != channels) {
      return "its bias is not a constant with one value for each output channel";
    }
    layer->has_bias = true;
    layer->bias_name = node.input(2);
    return "";
  }

  Model& model_;
  const GraphIndex& index_;
  ValueTypes types_;
  QdqLayers result_;
};

}  // namespace

void NameNodes(onnx::ModelProto& model) {
  UniqueNames names(model);
  ForEachGraph(model, [&](onnx::GraphProto& graph, int) {
    for (onnx::NodeProto& node : *graph.mutable_node()) {
      if (!node.name().empty() || node.output_size() == 0) continue;
      node.set_name(names.Make(node.op_type() + "_" + node.output(0)));
    }
  });
}

absl::StatusOr<QdqLayers> FindQdqLayers(Model& model, const GraphIndex& index) {
  return Finder(model, index).Run();
}

bool HasQuantizedActivations(onnx::ModelProto& model, const GraphIndex& index) {
  bool found = false;
  ForEachGraph(model, [&](onnx::GraphProto& graph, int) {
    for (const onnx::NodeProto& node : graph.node()) {
      const std::string& op = node.op_type();
      const bool quantizes = op == "QuantizeLinear" || op == "DynamicQuantizeLinear";
      if (quantizes && node.input_size() > 0) {
        found = found || index.Constant(graph, node.input(0)) == nullptr;
      }
      found = found || op.starts_with("QLinear") || op.ends_with("Integer");
    }
  });
  return found;
}

}  // namespace modelpress
