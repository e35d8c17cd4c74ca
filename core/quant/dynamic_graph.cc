// Integer operators in the place of float ones; see dynamic_layers.h.
#include <algorithm>
#include <map>
#include <utility>

#include "core/base/status.h"
#include "core/quant/dynamic_layers.h"
#include "core/quant/graph_additions.h"

namespace modelpress {
namespace {

constexpr std::string_view kMicrosoftDomain = "com.microsoft";

class Rewriter {
 public:
  Rewriter(Model& model, const std::vector<DynamicWeight>& weights, WeightArena& arena)
      : model_(model),
        main_(*model.mutable_proto().mutable_graph()),
        weights_(weights),
        index_(model.mutable_proto()),
        additions_(model, arena) {
    ForEachGraph(model.mutable_proto(),
                 [&](onnx::GraphProto& graph, int) { graphs_.push_back(&graph); });
  }

  absl::Status Rewrite(const DynamicLayer& layer) {
    onnx::GraphProto& graph = *graphs_[layer.graph];
    onnx::NodeProto& node = *graph.mutable_node(layer.node);
    if (layer.op_type == "LSTM") return RewriteLstm(graph, node, layer);
    if (layer.op_type == "Conv") return RewriteConv(graph, node, layer.weights[0]);
    return RewriteProduct(graph, node, layer.weights[0]);
  }

  absl::Status Finish() { return additions_.Finish(); }

 private:
  // Codes, scale and zero point of a value; those of weights are in the main graph, which is seen
  // from everywhere.
  struct Names {
    std::string codes, scale, zero_point;
  };

  std::string Make(const std::string& base) { return additions_.names().Make(base); }

  absl::StatusOr<Names> WeightNames(size_t place) {
    const auto known = weight_names_.find(place);
    if (known != weight_names_.end()) return known->second;
    const DynamicWeight& weight = weights_[place];
    Names names;
    MP_ASSIGN_OR_RETURN(names.codes,
                        additions_.AddConstant(&main_, weight.name + "_quantized", weight.type,
                                               weight.dims, weight.codes));
    MP_ASSIGN_OR_RETURN(names.scale,
                        additions_.AddConstant(&main_, weight.name + "_scale", DataType::kFloat,
                                               weight.parameter_dims, weight.scales));
    MP_ASSIGN_OR_RETURN(names.zero_point,
                        additions_.AddConstant(&main_, weight.name + "_zero_point", weight.type,
                                               weight.zero_point_dims, weight.zero_points));
    weight_names_[place] = names;
    return names;
  }

  absl::StatusOr<std::string> AddScalar(const std::string& base, float value) {
    return additions_.AddConstant(&main_, base, DataType::kFloat, {},
                                  std::as_bytes(std::span(&value, 1)));
  }

  // Once for each graph that reads it.
  const Names& Activation(onnx::GraphProto& graph, const std::string& value) {
    Names& names = activations_[{&graph, value}];
    if (!names.codes.empty()) return names;
    names = {Make(value + "_quantized"), Make(value + "_scale"), Make(value + "_zero_point")};
    onnx::NodeProto& node =
        additions_.AddNode(&graph, "DynamicQuantizeLinear", {value}, names.codes);
    node.add_output(names.scale);
    node.add_output(names.zero_point);
    return names;
  }

  // MatMul x W, Gemm alpha x W + beta C.
  absl::Status RewriteProduct(onnx::GraphProto& graph, onnx::NodeProto& node, size_t place) {
    MP_ASSIGN_OR_RETURN(const Names w, WeightNames(place));
    const Names x = Activation(graph, node.input(0));
    const bool gemm = node.op_type() == "Gemm";
    const float alpha = gemm ? FloatAttribute(node, "alpha", 1.0f) : 1.0f;
    const float beta = gemm ? FloatAttribute(node, "beta", 1.0f) : 1.0f;
    std::string bias = gemm && node.input_size() > 2 ? node.input(2) : "";
    const std::string output = node.output(0);

    const std::string sums = Make(output + "_int32");
    node.set_op_type("MatMulInteger");
    node.clear_attribute();
    node.clear_input();
    for (const std::string& input : {x.codes, w.codes, x.zero_point}) node.add_input(input);
    if (!weights_[place].symmetric) node.add_input(w.zero_point);
    node.set_output(0, sums);

    const std::string numbers = Make(output + "_float");
    SetAttribute(additions_.AddNode(&graph, "Cast", {sums}, numbers), "to",
                 onnx::TensorProto::FLOAT);
    std::string scale = Make(output + "_scale");
    additions_.AddNode(&graph, "Mul", {x.scale, w.scale}, scale);
    if (alpha != 1.0f) {
      MP_ASSIGN_OR_RETURN(const std::string factor, AddScalar(output + "_alpha", alpha));
      const std::string scaled = Make(output + "_alpha_scale");
      additions_.AddNode(&graph, "Mul", {scale, factor}, scaled);
      scale = scaled;
    }
    if (bias.empty()) {
      additions_.AddNode(&graph, "Mul", {numbers, scale}, output);
      return absl::OkStatus();
    }
    if (beta != 1.0f) {
      MP_ASSIGN_OR_RETURN(const std::string factor, AddScalar(output + "_beta", beta));
      const std::string scaled = Make(output + "_bias");
      additions_.AddNode(&graph, "Mul", {bias, factor}, scaled);
      bias = scaled;
    }
    const std::string product = Make(output + "_product");
    additions_.AddNode(&graph, "Mul", {numbers, scale}, product);
    additions_.AddNode(&graph, "Add", {product, bias}, output);
    return absl::OkStatus();
  }

  // Attributes stay.
  absl::Status RewriteConv(onnx::GraphProto& graph, onnx::NodeProto& node, size_t place) {
    MP_ASSIGN_OR_RETURN(const Names w, WeightNames(place));
    const Names x = Activation(graph, node.input(0));
    const std::string bias = node.input_size() > 2 ? node.input(2) : "";
    const std::string output = node.output(0);
    const std::string sums = Make(output + "_int32"), numbers = Make(output + "_float");
    node.set_op_type("ConvInteger");
    node.clear_input();
    for (const std::string& input : {x.codes, w.codes, x.zero_point, w.zero_point}) {
      node.add_input(input);
    }
    node.set_output(0, sums);
    SetAttribute(additions_.AddNode(&graph, "Cast", {sums}, numbers), "to",
                 onnx::TensorProto::FLOAT);
    const std::string scale = Make(output + "_scale");
    additions_.AddNode(&graph, "Mul", {x.scale, w.scale}, scale);
    if (bias.empty()) {
      additions_.AddNode(&graph, "Mul", {numbers, scale}, output);
      return absl::OkStatus();
    }
    MP_ASSIGN_OR_RETURN(const auto values, model_.Bytes(*index_.Constant(graph, bias)));
    std::vector<int64_t> dims(weights_[place].dims.size() - 1, 1);
    dims[0] = weights_[place].dims[0];
    MP_ASSIGN_OR_RETURN(
        const std::string summand,
        additions_.AddConstant(&main_, bias + "_column", DataType::kFloat, dims, values));
    const std::string product = Make(output + "_product");
    additions_.AddNode(&graph, "Mul", {numbers, scale}, product);
    additions_.AddNode(&graph, "Add", {product, summand}, output);
    return absl::OkStatus();
  }

  absl::Status RewriteLstm(onnx::GraphProto& graph, onnx::NodeProto& node,
                           const DynamicLayer& layer) {
    MP_ASSIGN_OR_RETURN(const Names w, WeightNames(layer.weights[0]));
    MP_ASSIGN_OR_RETURN(const Names r, WeightNames(layer.weights[1]));
    ImportMicrosoft();
    node.set_op_type("DynamicQuantizeLSTM");
    node.set_domain(std::string(kMicrosoftDomain));
    auto& attributes = *node.mutable_attribute();
    attributes.erase(std::remove_if(attributes.begin(), attributes.end(),
                                    [](const auto& a) { return a.name() == "layout"; }),
                     attributes.end());
    node.set_input(1, w.codes);
    node.set_input(2, r.codes);
    while (node.input_size() < 8) node.add_input();  // bias, lengths, states and peepholes
    for (const std::string& input : {w.scale, w.zero_point, r.scale, r.zero_point}) {
      node.add_input(input);
    }
    DeclareOutputs(graph, node);
    return absl::OkStatus();
  }

  // libonnx does not know the operator, and the types of an If's outputs are inferred from what
  // makes them.
  void DeclareOutputs(onnx::GraphProto& graph, const onnx::NodeProto& node) {
    constexpr int kRanks[] = {4, 3, 3};
    for (int i = 0; i < std::min(node.output_size(), 3); ++i) {
      const auto same = [&](const auto& value) { return value.name() == node.output(i); };
      if (node.output(i).empty() || std::ranges::any_of(graph.output(), same) ||
          std::ranges::any_of(graph.value_info(), same)) {
        continue;
      }
      onnx::ValueInfoProto& info = *graph.add_value_info();
      info.set_name(node.output(i));
      auto& type = *info.mutable_type()->mutable_tensor_type();
      type.set_elem_type(onnx::TensorProto::FLOAT);
      for (int axis = 0; axis < kRanks[i]; ++axis) type.mutable_shape()->add_dim();
    }
  }

  void ImportMicrosoft() {
    auto& imports = *model_.mutable_proto().mutable_opset_import();
    if (std::ranges::any_of(
            imports, [](const auto& import) { return import.domain() == kMicrosoftDomain; })) {
      return;
    }
    auto& import = *imports.Add();
    import.set_domain(std::string(kMicrosoftDomain));
    import.set_version(1);
  }

  Model& model_;
  onnx::GraphProto& main_;
  const std::vector<DynamicWeight>& weights_;
  const GraphIndex index_;  // of constants; nodes change
  GraphAdditions additions_;
  std::vector<onnx::GraphProto*> graphs_;
  std::map<size_t, Names> weight_names_;
  std::map<std::pair<onnx::GraphProto*, std::string>, Names> activations_;
};

}  // namespace

absl::Status QuantizeDynamicLayers(Model& model, const std::vector<DynamicWeight>& weights,
                                   const std::vector<const DynamicLayer*>& layers,
                                   WeightArena& arena) {
  Rewriter rewriter(model, weights, arena);
  for (const DynamicLayer* layer : layers) MP_RETURN_IF_ERROR(rewriter.Rewrite(*layer));
  return rewriter.Finish();
}

}  // namespace modelpress
