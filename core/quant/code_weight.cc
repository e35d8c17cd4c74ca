// Putting 8-bit codes in the place of a float weight; see code_weight.h.
#include "core/quant/code_weight.h"

#include <algorithm>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/quant/graph_additions.h"
#include "core/quant/opset_conversion.h"
#include "core/quant/skip.h"

namespace modelpress {
namespace {

DataType CodeDataType(const AffineRule& rule) {
  return rule.type == CodeType::kInt8 ? DataType::kInt8 : DataType::kUint8;
}

class Rewriter {
 public:
  explicit Rewriter(GraphAdditions& additions) : additions_(additions) {}

  absl::Status Rewrite(const CodedWeight& coded) {
    const CandidateWeight& weight = coded.weight;
    codes_name_ = additions_.names().Make(weight.name + "_quantized");
    has_zero_points_ = coded.rule.type == CodeType::kUint8 ||
                       std::ranges::any_of(coded.parameters, [](const AffineParameters& p) {
                         return p.zero_point != 0;
                       });
    std::vector<Use> gathers;
    bool others = false;
    for (const Use& use : weight.uses) {
      if (GathersRows(coded, use)) {
        gathers.push_back(use);
      } else {
        others = true;
      }
    }
    if (others) {
      MP_RETURN_IF_ERROR(weight.is_moved || coded.decode_at_load ? DecodeAtLoad(coded)
                                                                 : Dequantize(coded));
    }
    if (!gathers.empty()) MP_RETURN_IF_ERROR(DequantizeRows(coded, gathers));

    return additions_.ReplaceTensor(weight, codes_name_, CodeDataType(coded.rule), coded.dims,
                                    coded.codes);
  }

 private:
  static bool GathersRows(const CodedWeight& coded, const Use& use) {
    const onnx::NodeProto& node = *use.node;
    return node.op_type() == "Gather" && IsDefaultDomain(node.domain()) && use.input == 0 &&
           coded.axis == size_t{0} && IntAttribute(node, "axis", 0) == 0;
  }

  void AddCast(onnx::GraphProto* graph, std::string_view from, std::string_view to, DataType type) {
    SetAttribute(additions_.AddNode(graph, "Cast", {from}, to), "to", static_cast<int64_t>(type));
  }

  std::string FloatsOf(const CodedWeight& coded, onnx::GraphProto* graph, const std::string& name) {
    return additions_.FloatsOf(Type(*coded.weight.tensor), graph, name);
  }

  // The scales as floats or the zero points as codes, in the weight's graph.
  absl::StatusOr<std::string> AddConstant(const CodedWeight& coded, std::string_view suffix,
                                          DataType type, std::span<const int64_t> dims,
                                          std::span<const std::byte> bytes) {
    return additions_.AddConstant(coded.weight.graph, coded.weight.name + std::string(suffix), type,
                                  dims, bytes);
  }

  static std::vector<float> Scales(const CodedWeight& coded) {
    std::vector<float> scales;
    for (const AffineParameters& p : coded.parameters) scales.push_back(p.scale);
    return scales;
  }

  absl::Status Dequantize(const CodedWeight& coded) {
    const CandidateWeight& weight = coded.weight;
    std::vector<int64_t> dims;
    if (coded.axis.has_value()) dims.push_back(static_cast<int64_t>(coded.parameters.size()));
    const std::vector<float> scales = Scales(coded);
    MP_ASSIGN_OR_RETURN(
        const std::string scale,
        AddConstant(coded, "_scale", DataType::kFloat, dims, std::as_bytes(std::span(scales))));
    const std::string floats = FloatsOf(coded, weight.graph, weight.name);
    onnx::NodeProto& node =
        additions_.AddNode(weight.graph, "DequantizeLinear", {codes_name_, scale}, floats);
    if (has_zero_points_) {
      std::vector<uint8_t> codes;
      for (const AffineParameters& p : coded.parameters) {
        codes.push_back(static_cast<uint8_t>(p.zero_point));
      }
      MP_ASSIGN_OR_RETURN(std::string zero_point,
                          AddConstant(coded, "_zero_point", CodeDataType(coded.rule), dims,
                                      std::as_bytes(std::span(codes))));
      node.add_input(std::move(zero_point));
    }
    if (coded.axis.has_value() && *coded.axis != 1) {
      SetAttribute(node, "axis", static_cast<int64_t>(*coded.axis));
    }
    return absl::OkStatus();
  }

  // Names of the scales and, where there are any, of the zero points as floats, in a shape that
  // broadcasts over the codes.
  struct Decoding {
    std::string scale, zero_point;
  };
  absl::StatusOr<Decoding> AddDecoding(const CodedWeight& coded, const std::string& prefix) {
    std::vector<int64_t> dims;
    if (coded.axis.has_value()) {
      dims.assign(coded.dims.size(), 1);
      dims[*coded.axis] = coded.dims[*coded.axis];
    }
    const std::vector<float> scales = Scales(coded);
    Decoding decoding;
    MP_ASSIGN_OR_RETURN(decoding.scale, AddConstant(coded, prefix + "scale", DataType::kFloat, dims,
                                                    std::as_bytes(std::span(scales))));
    if (!has_zero_points_) return decoding;
    std::vector<float> values;
    for (const AffineParameters& p : coded.parameters) {
      values.push_back(static_cast<float>(p.zero_point));
    }
    MP_ASSIGN_OR_RETURN(decoding.zero_point,
                        AddConstant(coded, prefix + "zero_point", DataType::kFloat, dims,
                                    std::as_bytes(std::span(values))));
    return decoding;
  }

  // [Sub ->] Mul of codes that were cast to float.
  void Decode(const CodedWeight& coded, onnx::GraphProto* graph, std::string values,
              const Decoding& decoding, const std::string& output) {
    if (!decoding.zero_point.empty()) {
      const std::string shifted = additions_.names().Make(output + "_shifted");
      additions_.AddNode(graph, "Sub", {values, decoding.zero_point}, shifted);
      values = shifted;
    }
    additions_.AddNode(graph, "Mul", {values, decoding.scale}, FloatsOf(coded, graph, output));
  }

  absl::Status DecodeAtLoad(const CodedWeight& coded) {
    MP_ASSIGN_OR_RETURN(const Decoding decoding, AddDecoding(coded, "_"));
    const std::string values = additions_.names().Make(coded.weight.name + "_values");
    AddCast(coded.weight.graph, codes_name_, values, DataType::kFloat);
    Decode(coded, coded.weight.graph, values, decoding, coded.weight.name);
    return absl::OkStatus();
  }

  // Rows of the table stay rows of the scales, so that gathered scales broadcast over gathered
  // codes.
  absl::Status DequantizeRows(const CodedWeight& coded, const std::vector<Use>& gathers) {
    MP_ASSIGN_OR_RETURN(const Decoding table, AddDecoding(coded, "_row_"));
    for (const Use& use : gathers) {
      const std::string output = use.node->output(0);
      const std::string indices = use.node->input(1);
      const std::string rows = additions_.names().Make(output + "_codes");
      use.node->set_input(0, codes_name_);
      use.node->set_output(0, rows);
      const std::string values = additions_.names().Make(output + "_values");
      AddCast(use.graph, rows, values, DataType::kFloat);
      Decoding of_rows{additions_.names().Make(output + "_scales"), ""};
      additions_.AddNode(use.graph, "Gather", {table.scale, indices}, of_rows.scale);
      if (has_zero_points_) {
        of_rows.zero_point = additions_.names().Make(output + "_zero_points");
        additions_.AddNode(use.graph, "Gather", {table.zero_point, indices}, of_rows.zero_point);
      }
      Decode(coded, use.graph, values, of_rows, output);
    }
    return absl::OkStatus();
  }

  GraphAdditions& additions_;
  std::string codes_name_;
  bool has_zero_points_ = false;
};

}  // namespace

std::optional<v1::Skip> ChooseLayout(bool per_channel, CodedWeight* coded) {
  const CandidateWeight& weight = coded->weight;
  const auto dims = Dims(*weight.tensor);
  coded->dims.assign(dims.begin(), dims.end());
  coded->layout = WholeTensor(weight.elements);
  if (!per_channel || !weight.channel_axis.has_value()) return std::nullopt;
  coded->layout = LayoutOf(dims, *weight.channel_axis);
  if (coded->layout.elements() / coded->layout.channels < 4) {
    return MakeSkip(SkipReason::kTooSmall, weight.name, weight.reader(),
                    "fewer than 4 values per channel: scales would outweigh the codes");
  }
  coded->axis = weight.channel_axis;
  return std::nullopt;
}

absl::Status ReplaceByCodes(const std::vector<CodedWeight>& weights, GraphAdditions& additions) {
  Rewriter rewriter(additions);
  for (const CodedWeight& weight : weights) MP_RETURN_IF_ERROR(rewriter.Rewrite(weight));
  return absl::OkStatus();
}

absl::Status PrepareOpset(Model& model, bool* per_channel,
                          google::protobuf::RepeatedPtrField<std::string>* notes) {
  // Versions of DequantizeLinear: 10 per tensor, 13 with an axis.
  constexpr int64_t kPerTensor = 10, kPerChannel = 13;
  const int64_t opset = model.opset();
  const int64_t needed = *per_channel ? kPerChannel : kPerTensor;
  if (opset >= needed) return absl::OkStatus();
  const absl::Status converted = ConvertDefaultDomain(model, kPerChannel);
  if (converted.ok()) {
    *notes->Add() = FormatString("opset {} was converted to {}, which DequantizeLinear needs",
                                 opset, kPerChannel);
    return absl::OkStatus();
  }
  if (opset < kPerTensor) return converted;
  *per_channel = false;
  *notes->Add() = FormatString("one scale per tensor: scales per channel need opset 13, and {}",
                               std::string_view(converted.message()));
  return absl::OkStatus();
}

std::string Describe(const CodedWeight& weight) {
  const std::string_view type = weight.rule.type == CodeType::kInt8 ? "int8" : "uint8";
  const std::string_view kind = weight.rule.symmetric ? "" : " asymmetric";
  if (!weight.axis.has_value()) return FormatString("{}{} per tensor", type, kind);
  return FormatString("{}{} per channel, axis {}, {} scales", type, kind, *weight.axis,
                      weight.parameters.size());
}

}  // namespace modelpress
