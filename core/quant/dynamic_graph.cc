// Integer operators in the place of float ones; see dynamic_layers.h.
#include <algorithm>
#include <cstring>
#include <map>
#include <utility>

#include "core/base/status.h"
#include "core/quant/dynamic_layers.h"

namespace modelpress {
namespace {

constexpr std::string_view kMicrosoftDomain = "com.microsoft";

void SetInt(onnx::NodeProto& node, const char* name, int64_t value) {
  onnx::AttributeProto& attribute = *node.add_attribute();
  attribute.set_name(name);
  attribute.set_type(onnx::AttributeProto::INT);
  attribute.set_i(value);
}

class Rewriter {
 public:
  Rewriter(Model& model, const std::vector<DynamicWeight>& weights)
      : model_(model),
        main_(*model.mutable_proto().mutable_graph()),
        weights_(weights),
        names_(model.proto()) {
    ForEachGraph(model.mutable_proto(),
                 [&](onnx::GraphProto& graph, int) { graphs_.push_back(&graph); });
  }

  absl::Status Rewrite(const DynamicLayer& layer) {
    onnx::GraphProto& graph = *graphs_[layer.graph];
    onnx::NodeProto& node = *graph.mutable_node(layer.node);
    if (layer.op_type == "LSTM") return RewriteLstm(graph, node, layer);
    return RewriteProduct(graph, node, weights_[layer.weights[0]], layer.weights[0]);
  }

  absl::Status Finish() {
    for (auto& [graph, node] : added_) *graph->add_node() = std::move(node);
    return SortTopologically(model_.mutable_proto());
  }

 private:
  // Initializers of one weight; those of the main graph are seen from everywhere.
  struct Names {
    std::string codes, scale, zero_point;
  };

  static DataType CodeType(const DynamicWeight& weight) {
    return weight.rule.type == modelpress::CodeType::kInt8 ? DataType::kInt8 : DataType::kUint8;
  }

  absl::StatusOr<std::string> AddTensor(const std::string& base, DataType type,
                                        const std::vector<int64_t>& dims, const WeightRef& bytes) {
    onnx::TensorProto* tensor = main_.add_initializer();
    std::string name = names_.Make(base);
    tensor->set_name(name);
    if (bytes.length <= kInlineBytes) {
      MP_RETURN_IF_ERROR(model_.SetInline(tensor, type, dims, bytes.bytes()));
    } else {
      MP_RETURN_IF_ERROR(model_.SetWeight(tensor, type, dims, bytes));
    }
    return name;
  }

  absl::StatusOr<Names> WeightNames(size_t place) {
    const auto known = weight_names_.find(place);
    if (known != weight_names_.end()) return known->second;
    const DynamicWeight& weight = weights_[place];
    Names names;
    MP_ASSIGN_OR_RETURN(names.codes, AddTensor(weight.name + "_quantized", CodeType(weight),
                                               weight.dims, weight.codes));
    MP_ASSIGN_OR_RETURN(names.scale, AddTensor(weight.name + "_scale", DataType::kFloat,
                                               weight.parameter_dims, weight.scales));
    MP_ASSIGN_OR_RETURN(names.zero_point, AddTensor(weight.name + "_zero_point", CodeType(weight),
                                                    weight.parameter_dims, weight.zero_points));
    weight_names_[place] = names;
    return names;
  }

  absl::StatusOr<std::string> AddScalar(const std::string& base, float value) {
    onnx::TensorProto* tensor = main_.add_initializer();
    std::string name = names_.Make(base);
    tensor->set_name(name);
    MP_RETURN_IF_ERROR(
        model_.SetInline(tensor, DataType::kFloat, {}, std::as_bytes(std::span(&value, 1))));
    return name;
  }

  onnx::NodeProto& AddNode(onnx::GraphProto& graph, std::string_view op,
                           std::initializer_list<std::string_view> inputs, std::string output) {
    onnx::NodeProto& node = added_.emplace_back(&graph, onnx::NodeProto()).second;
    node.set_op_type(std::string(op));
    node.set_name(names_.Make(output + "_" + std::string(op)));
    for (const std::string_view input : inputs) node.add_input(std::string(input));
    node.add_output(std::move(output));
    return node;
  }

  // Codes, scale and zero point of an activation: once for each graph that reads it.
  const Names& Activation(onnx::GraphProto& graph, const std::string& value) {
    Names& names = activations_[{&graph, value}];
    if (!names.codes.empty()) return names;
    names = {names_.Make(value + "_quantized"), names_.Make(value + "_scale"),
             names_.Make(value + "_zero_point")};
    onnx::NodeProto& node = AddNode(graph, "DynamicQuantizeLinear", {value}, names.codes);
    node.add_output(names.scale);
    node.add_output(names.zero_point);
    return names;
  }

  // MatMul x W, Gemm alpha x W + beta C.
  absl::Status RewriteProduct(onnx::GraphProto& graph, onnx::NodeProto& node,
                              const DynamicWeight& weight, size_t place) {
    MP_ASSIGN_OR_RETURN(const Names w, WeightNames(place));
    const Names x = Activation(graph, node.input(0));
    const bool gemm = node.op_type() == "Gemm";
    const float alpha = gemm ? FloatAttribute(node, "alpha", 1.0f) : 1.0f;
    const float beta = gemm ? FloatAttribute(node, "beta", 1.0f) : 1.0f;
    std::string bias = gemm && node.input_size() > 2 ? node.input(2) : "";
    const std::string output = node.output(0);

    const std::string sums = names_.Make(output + "_int32");
    node.set_op_type("MatMulInteger");
    node.clear_attribute();
    node.clear_input();
    for (const std::string& input : {x.codes, w.codes, x.zero_point}) node.add_input(input);
    if (weight.rule.type == modelpress::CodeType::kUint8) node.add_input(w.zero_point);
    node.set_output(0, sums);

    const std::string numbers = names_.Make(output + "_float");
    SetInt(AddNode(graph, "Cast", {sums}, numbers), "to", onnx::TensorProto::FLOAT);
    std::string scale = names_.Make(output + "_scale");
    AddNode(graph, "Mul", {x.scale, w.scale}, scale);
    if (alpha != 1.0f) {
      MP_ASSIGN_OR_RETURN(const std::string factor, AddScalar(output + "_alpha", alpha));
      const std::string scaled = names_.Make(output + "_alpha_scale");
      AddNode(graph, "Mul", {scale, factor}, scaled);
      scale = scaled;
    }
    if (bias.empty()) {
      AddNode(graph, "Mul", {numbers, scale}, output);
      return absl::OkStatus();
    }
    if (beta != 1.0f) {
      MP_ASSIGN_OR_RETURN(const std::string factor, AddScalar(output + "_beta", beta));
      const std::string scaled = names_.Make(output + "_bias");
      AddNode(graph, "Mul", {bias, factor}, scaled);
      bias = scaled;
    }
    const std::string product = names_.Make(output + "_product");
    AddNode(graph, "Mul", {numbers, scale}, product);
    AddNode(graph, "Add", {product, bias}, output);
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
  UniqueNames names_;
  std::vector<onnx::GraphProto*> graphs_;
  std::map<size_t, Names> weight_names_;
  std::map<std::pair<onnx::GraphProto*, std::string>, Names> activations_;
  std::vector<std::pair<onnx::GraphProto*, onnx::NodeProto>> added_;
};

}  // namespace

absl::Status QuantizeDynamicLayers(Model& model, const std::vector<DynamicWeight>& weights,
                                   const std::vector<const DynamicLayer*>& layers) {
  Rewriter rewriter(model, weights);
  for (const DynamicLayer* layer : layers) MP_RETURN_IF_ERROR(rewriter.Rewrite(*layer));
  return rewriter.Finish();
}

}  // namespace modelpress
