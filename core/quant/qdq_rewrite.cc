// Writing pairs into a graph; see qdq_rewrite.h.
#include "core/quant/qdq_rewrite.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/base/status.h"
#include "core/quant/graph_additions.h"
#include "core/quant/qdq_flow.h"

namespace modelpress {
namespace {

constexpr std::string_view kContribDomain = "com.microsoft";

// `value` as an element of a code type.
std::vector<std::byte> CodeBytes(DataType type, std::span<const int32_t> values) {
  const size_t width = static_cast<size_t>(BitsPerElement(type)) / 8;
  std::vector<std::byte> bytes(values.size() * width);
  for (size_t i = 0; i < values.size(); ++i) {
    std::memcpy(bytes.data() + i * width, &values[i], width);  // little-endian
  }
  return bytes;
}

class Rewriter {
 public:
  Rewriter(Model& model, WeightArena& arena, const std::vector<QdqLayer>& layers,
           const std::vector<LayerForm>& forms, const std::map<ValueKey, ValueRange>& ranges,
           const QdqRewrite& rewrite)
      : model_(model),
        index_(model.mutable_proto()),
        flow_(model, index_, layers, IntegerLayers(forms), rewrite.activations.symmetric),
        additions_(model, arena),
        ranges_(ranges),
        rewrite_(rewrite) {
    // 16-bit codes are of opset 21; the runtime has the same operators in a domain of its own.
    contrib_domain_ = BitsPerElement(rewrite.activations.type) == 16 && model.opset() < 21;
  }

  absl::Status Run(const std::vector<QdqLayer>& layers, const std::vector<LayerForm>& forms,
                   const std::vector<std::optional<CodedMatrix>>& weights) {
    // Readings are looked up before anything is renamed.
    struct Input {
      onnx::NodeProto* node;
      int input;
      QdqFlow::Reading reading;
    };
    std::vector<std::vector<Input>> inputs(layers.size());
    for (size_t i = 0; i < layers.size(); ++i) {
      if (forms[i] != LayerForm::kInteger) continue;
      for (const int input : layers[i].activations) {
        inputs[i].push_back({flow_.Node(layers[i].key), input, flow_.Read(layers[i], input)});
      }
    }
    std::vector<onnx::NodeProto*> makers;
    for (const auto& [value, grid] : flow_.stored()) makers.push_back(flow_.Node(value));
    for (size_t i = 0; i < layers.size(); ++i) {
      if (forms[i] == LayerForm::kFloat) continue;
      onnx::GraphProto* graph = flow_.Graph(layers[i].key.graph);
      onnx::NodeProto* node = flow_.Node(layers[i].key);
      for (const Input& input : inputs[i]) {
        if (!input.reading.stored) {
          MP_RETURN_IF_ERROR(QuantizeEdge(graph, node, input.input, input.reading));
        }
      }
      if (!layers[i].weight.has_value()) continue;
      const int at = *layers[i].weight;
      const std::string weight = node->input(at);
      onnx::GraphProto* home = index_.DefiningGraph(*graph, weight);
      MP_RETURN_IF_ERROR(Dequantize(home, node, at, weight, *weights[i]));
      if (forms[i] == LayerForm::kInteger && layers[i].has_bias && rewrite_.integer_bias) {
        MP_RETURN_IF_ERROR(QuantizeBias(graph, node, inputs[i][0].reading, *weights[i]));
      }
    }
    for (size_t i = 0; i < makers.size(); ++i) {
      const auto& [value, grid] = flow_.stored()[i];
      MP_RETURN_IF_ERROR(QuantizeStored(makers[i], value, grid));
    }
    if (contrib_domain_) ImportContribDomain();
    MP_RETURN_IF_ERROR(additions_.Finish());
    RemoveDead(model_.mutable_proto());
    return absl::OkStatus();
  }

 private:
  struct Grid {
    std::string scale, zero_point;
  };

  // Without a name: in small models names are a good part of the file.
  onnx::NodeProto& Add(onnx::GraphProto* graph, std::string_view op,
                       std::initializer_list<std::string_view> inputs, std::string_view output) {
    onnx::NodeProto& node = additions_.AddNode(graph, op, inputs, output);
    node.clear_name();
    return node;
  }

  absl::StatusOr<AffineParameters> Parameters(const ValueKey& grid) const {
    const auto range = ranges_.find(grid);
    if (range == ranges_.end()) {
      return Error(ERROR_REASON_INTERNAL_BUG, "a value that is to be quantized has no range")
          .Tensor(grid.value);
    }
    return ChooseParameters(range->second, rewrite_.activations.limits(),
                            rewrite_.activations.symmetric);
  }

  absl::StatusOr<Grid> GridIn(onnx::GraphProto* graph, const ValueKey& key) {
    const auto [place, is_new] = grids_.try_emplace({graph, key});
    if (!is_new) return place->second;
    MP_ASSIGN_OR_RETURN(const AffineParameters p, Parameters(key));
    const std::vector<std::byte> zero =
        CodeBytes(rewrite_.activations.type, std::span(&p.zero_point, 1));
    MP_ASSIGN_OR_RETURN(place->second.scale,
                        additions_.AddConstant(graph, key.value + "_scale", DataType::kFloat, {},
                                               std::as_bytes(std::span(&p.scale, 1))));
    MP_ASSIGN_OR_RETURN(place->second.zero_point,
                        additions_.AddConstant(graph, key.value + "_zero_point",
                                               rewrite_.activations.type, {}, zero));
    return place->second;
  }

  absl::Status AddPair(onnx::GraphProto* graph, const std::string& from, const ValueKey& grid_key,
                       const std::string& to) {
    MP_ASSIGN_OR_RETURN(const Grid grid, GridIn(graph, grid_key));
    const std::string codes = additions_.names().Make(to + "_codes");
    for (const auto& [op, input, output] :
         {std::tuple{"QuantizeLinear", from, codes}, {"DequantizeLinear", codes, to}}) {
      onnx::NodeProto& node = Add(graph, op, {input, grid.scale, grid.zero_point}, output);
      if (contrib_domain_) node.set_domain(std::string(kContribDomain));
    }
    return absl::OkStatus();
  }

  absl::Status QuantizeEdge(onnx::GraphProto* graph, onnx::NodeProto* node, int input,
                            const QdqFlow::Reading& reading) {
    const std::string value = node->input(input);
    const auto place = edges_.try_emplace({graph, value}).first;
    if (place->second.empty() || rewrite_.pair_for_each_reader) {
      place->second = additions_.names().Make(value + "_dq");
      MP_RETURN_IF_ERROR(AddPair(graph, value, reading.grid, place->second));
    }
    node->set_input(input, place->second);
    return absl::OkStatus();
  }

  absl::Status QuantizeStored(onnx::NodeProto* maker, const ValueKey& value, const ValueKey& grid) {
    onnx::GraphProto* graph = flow_.Graph(value.graph);
    const std::string raw = additions_.names().Make(value.value + "_raw");
    for (std::string& output : *maker->mutable_output()) {
      if (output == value.value) output = raw;
    }
    if (maker->op_type() == "HardSigmoid" && IsDefaultDomain(maker->domain())) {
      return ClipByGrid(graph, maker, raw, value, grid);
    }
    return AddPair(graph, raw, grid, value.value);
  }

  // HardSigmoid as a change of grids.
  absl::Status ClipByGrid(onnx::GraphProto* graph, onnx::NodeProto* maker, const std::string& raw,
                          const ValueKey& value, const ValueKey& grid) {
    const double alpha = FloatAttribute(*maker, "alpha", 0.2f);
    const double beta = FloatAttribute(*maker, "beta", 0.5f);
    const CodeLimits limits = rewrite_.activations.limits();
    const double steps = limits.highest - limits.lowest;
    const auto scale = static_cast<float>(1 / (steps * alpha));
    const auto zero = limits.lowest + static_cast<int32_t>(std::nearbyint(steps * beta));
    maker->set_op_type("LeakyRelu");
    maker->clear_attribute();
    onnx::AttributeProto& slope = *maker->add_attribute();
    slope.set_name("alpha");
    slope.set_type(onnx::AttributeProto::FLOAT);
    slope.set_f(1);
    MP_ASSIGN_OR_RETURN(const std::string from_scale,
                        additions_.AddConstant(graph, raw + "_scale", DataType::kFloat, {},
                                               std::as_bytes(std::span(&scale, 1))));
    MP_ASSIGN_OR_RETURN(
        const std::string from_zero,
        additions_.AddConstant(graph, raw + "_zero_point", rewrite_.activations.type, {},
                               CodeBytes(rewrite_.activations.type, std::span(&zero, 1))));
    MP_ASSIGN_OR_RETURN(const Grid to, GridIn(graph, grid));
    const std::string codes = additions_.names().Make(value.value + "_codes");
    onnx::NodeProto& quantize = Add(graph, "QuantizeLinear", {raw, from_scale, from_zero}, codes);
    if (contrib_domain_) quantize.set_domain(std::string(kContribDomain));
    onnx::NodeProto& dequantize =
        Add(graph, "DequantizeLinear", {codes, to.scale, to.zero_point}, value.value);
    if (contrib_domain_) dequantize.set_domain(std::string(kContribDomain));
    return absl::OkStatus();
  }

  absl::Status Dequantize(onnx::GraphProto* graph, onnx::NodeProto* node, int input,
                          const std::string& name, const CodedMatrix& coded) {
    const auto [place, is_new] = weights_.try_emplace({graph, name, coded.codes.offset});
    if (is_new) {
      std::vector<int64_t> dims;
      if (coded.axis.has_value()) dims.push_back(static_cast<int64_t>(coded.parameters.size()));
      std::vector<float> scales;
      std::vector<int32_t> zeros;
      for (const AffineParameters& p : coded.parameters) {
        scales.push_back(p.scale);
        zeros.push_back(p.zero_point);
      }
      MP_ASSIGN_OR_RETURN(
          const std::string codes,
          additions_.AddConstant(graph, name + "_quantized", coded.type, coded.dims, coded.codes));
      MP_ASSIGN_OR_RETURN(const std::string scale,
                          additions_.AddConstant(graph, name + "_scale", DataType::kFloat, dims,
                                                 std::as_bytes(std::span(scales))));
      place->second = additions_.names().Make(name + "_dq");
      onnx::NodeProto& dequantize = Add(graph, "DequantizeLinear", {codes, scale}, place->second);
      // Left out, it is 0; other kernels than that of Conv ask for it.
      const bool is_zero = std::ranges::all_of(zeros, [](int32_t zero) { return zero == 0; });
      if (node->op_type() != "Conv" || coded.type != DataType::kInt8 || !is_zero) {
        MP_ASSIGN_OR_RETURN(std::string zero,
                            additions_.AddConstant(graph, name + "_zero_point", coded.type, dims,
                                                   CodeBytes(coded.type, zeros)));
        dequantize.add_input(std::move(zero));
      }
      if (coded.axis.has_value() && *coded.axis != 1) {
        SetAttribute(dequantize, "axis", static_cast<int64_t>(*coded.axis));
      }
    }
    node->set_input(input, place->second);
    return absl::OkStatus();
  }

  // code = round(b / (scale_x * scale_w[c])); scales are such that it fits (see CodeWeight).
  absl::Status QuantizeBias(onnx::GraphProto* graph, onnx::NodeProto* node,
                            const QdqFlow::Reading& activation, const CodedMatrix& coded) {
    const std::string name = node->input(2);
    MP_ASSIGN_OR_RETURN(const auto bytes, model_.Bytes(*index_.Constant(*graph, name)));
    MP_ASSIGN_OR_RETURN(const AffineParameters x, Parameters(activation.grid));
    std::vector<int32_t> codes(bytes.size() / sizeof(float));
    std::vector<float> scales(coded.axis.has_value() ? codes.size() : 1);
    for (size_t c = 0; c < codes.size(); ++c) {
      float value;
      std::memcpy(&value, bytes.data() + c * sizeof(float), sizeof(float));
      const size_t s = coded.axis.has_value() ? c : 0;
      scales[s] = x.scale * coded.parameters[s].scale;
      const double code = std::nearbyint(static_cast<double>(value) / scales[s]);
      codes[c] = static_cast<int32_t>(std::clamp(code, -2147483648.0, 2147483647.0));
    }
    const std::vector<int64_t> dims = {static_cast<int64_t>(codes.size())};
    const std::vector<int64_t> scale_dims = coded.axis.has_value() ? dims : std::vector<int64_t>();
    MP_ASSIGN_OR_RETURN(const std::string quantized,
                        additions_.AddConstant(graph, name + "_quantized", DataType::kInt32, dims,
                                               std::as_bytes(std::span(codes))));
    MP_ASSIGN_OR_RETURN(const std::string scale,
                        additions_.AddConstant(graph, name + "_scale", DataType::kFloat, scale_dims,
                                               std::as_bytes(std::span(scales))));
    const std::string result = additions_.names().Make(name + "_dq");
    // Without a zero point, which would be as large as the codes.
    onnx::NodeProto& dequantize = Add(graph, "DequantizeLinear", {quantized, scale}, result);
    if (coded.axis.has_value()) SetAttribute(dequantize, "axis", 0);
    node->set_input(2, result);
    return absl::OkStatus();
  }

  void ImportContribDomain() {
    for (const auto& import : model_.proto().opset_import()) {
      if (import.domain() == kContribDomain) return;
    }
    auto* import = model_.mutable_proto().add_opset_import();
    import->set_domain(std::string(kContribDomain));
    import->set_version(1);
  }

  Model& model_;
  GraphIndex index_;
  QdqFlow flow_;
  GraphAdditions additions_;
  const std::map<ValueKey, ValueRange>& ranges_;
  const QdqRewrite& rewrite_;
  bool contrib_domain_ = false;
  std::map<std::pair<onnx::GraphProto*, ValueKey>, Grid> grids_;
  std::map<std::pair<onnx::GraphProto*, std::string>, std::string> edges_;
  std::map<std::tuple<onnx::GraphProto*, std::string, uint64_t>, std::string> weights_;
};

}  // namespace

CodeLimits ActivationRule::limits() const {
  switch (type) {
    case DataType::kInt8:
      return {symmetric ? -127 : -128, 127};
    case DataType::kUint16:
      return {0, 65535};
    case DataType::kInt16:
      return {symmetric ? -32767 : -32768, 32767};
    default:
      return {0, 255};
  }
}

std::vector<bool> IntegerLayers(const std::vector<LayerForm>& forms) {
  std::vector<bool> active;
  for (const LayerForm form : forms) active.push_back(form == LayerForm::kInteger);
  return active;
}

absl::Status RewriteToQdq(Model& model, WeightArena& arena, const std::vector<QdqLayer>& layers,
                          const std::vector<LayerForm>& forms,
                          const std::map<ValueKey, ValueRange>& ranges,
                          const std::vector<std::optional<CodedMatrix>>& weights,
                          const QdqRewrite& rewrite) {
  return Rewriter(model, arena, layers, forms, ranges, rewrite).Run(layers, forms, weights);
}

}  // namespace modelpress
