// A weight as packed codes of few bits, and the nodes that read them; see block_weight.h.
#include "core/quant/block_weight.h"

#include <algorithm>
#include <bit>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/quant/skip.h"

namespace modelpress {
namespace {

constexpr std::string_view kMicrosoft = "com.microsoft";
constexpr uint64_t kShortestBlock = 16;

// A product with a matrix on the right, and no more but a summand.
bool CanBeMatMulNBits(const Use& use) {
  const onnx::NodeProto& node = *use.node;
  if (!IsDefaultDomain(node.domain()) || use.input != 1) return false;
  return node.op_type() == "MatMul" ||
         (node.op_type() == "Gemm" && IntAttribute(node, "transA", 0) == 0 &&
          FloatAttribute(node, "alpha", 1) == 1 && FloatAttribute(node, "beta", 1) == 1);
}

bool GathersRows(const BlockWeight& weight, const Use& use) {
  return use.node->op_type() == "Gather" && IsDefaultDomain(use.node->domain()) && use.input == 0 &&
         weight.dims.size() == 2 && weight.axis == 1 && !weight.per_channel &&
         weight.rule.stored_bits() == 4 && std::has_single_bit(weight.layout.block_size) &&
         IntAttribute(*use.node, "axis", 0) == 0;
}

// The axis over which the reader sums, or which it takes whole.
std::optional<size_t> SummedAxis(const Use& use, size_t rank) {
  const std::string& op = use.node->op_type();
  if (!IsWeightInput(use) || rank < 2) return std::nullopt;
  if (op == "MatMul") return use.input == 1 ? rank - 2 : rank - 1;
  if (op == "Gemm" || op == "Gather") {
    const auto channels = ChannelAxis(use, rank);
    if (!channels.has_value()) return std::nullopt;
    return op == "Gemm" ? 1 - *channels : *channels == 0 ? rank - 1 : 0;
  }
  if (op == "Conv") return 1;
  if (op == "ConvTranspose") return 0;
  return rank - 1;  // LSTM, GRU, RNN: [directions, gates, inputs]
}

// Of readers that disagree, the first that multiplies decides: for a Gather any axis will do.
std::optional<size_t> BlockAxis(const CandidateWeight& weight, size_t rank) {
  std::optional<size_t> gathered;
  for (const Use& use : weight.uses) {
    const auto axis = SummedAxis(use, rank);
    if (!axis.has_value()) continue;
    if (use.node->op_type() != "Gather") return axis;
    gathered = axis;
  }
  return gathered;
}

DataType StoredType(const BlockWeight& weight) {
  if (weight.rule.stored_bits() == 8) return weight.is_signed ? DataType::kInt8 : DataType::kUint8;
  return weight.is_signed ? DataType::kInt4 : DataType::kUint4;
}

std::vector<int64_t> ScaleDims(const BlockWeight& weight) {
  if (weight.per_channel) return {weight.dims[weight.axis]};
  std::vector<int64_t> dims = weight.dims;
  dims[weight.axis] = static_cast<int64_t>(weight.layout.blocks());
  return dims;
}

// The inputs of all readers divided by the factors of the rows: y = (x / s) (s W).
absl::Status DivideInputs(const BlockWeight& weight, GraphAdditions& graph) {
  std::vector<float> inverse;
  for (const float factor : weight.row_factors) inverse.push_back(1 / factor);
  MP_ASSIGN_OR_RETURN(
      const std::string factors,
      graph.AddConstant(weight.weight.graph, weight.weight.name + "_input_scale", DataType::kFloat,
                        std::vector<int64_t>{static_cast<int64_t>(inverse.size())},
                        std::as_bytes(std::span(inverse))));
  for (const Use& use : weight.weight.uses) {
    const std::string input = use.node->input(0);
    const std::string scaled = graph.names().Make(input + "_scaled");
    graph.AddNode(use.graph, "Mul", {input, factors}, scaled);
    use.node->set_input(0, scaled);
  }
  return absl::OkStatus();
}

absl::Status UseMatMulNBits(const BlockWeight& weight, GraphAdditions& graph) {
  const auto columns = static_cast<int64_t>(weight.layout.view.columns.count);
  const auto blocks = static_cast<int64_t>(weight.layout.blocks());
  const auto block_size = static_cast<int64_t>(weight.layout.block_size);
  const std::string codes = graph.names().Make(weight.weight.name + "_quantized");
  MP_ASSIGN_OR_RETURN(
      const std::string scales,
      graph.AddConstant(weight.weight.graph, weight.weight.name + "_scale", DataType::kFloat,
                        std::vector<int64_t>{columns * blocks}, weight.scales));
  std::string zero_points;
  if (weight.has_zero_points()) {
    MP_ASSIGN_OR_RETURN(
        zero_points,
        graph.AddConstant(weight.weight.graph, weight.weight.name + "_zero_point", DataType::kUint8,
                          std::vector<int64_t>{columns * ((blocks + 1) / 2)}, weight.zero_points));
  }
  for (const Use& use : weight.weight.uses) {
    onnx::NodeProto& node = *use.node;
    if (node.input_size() > 2 && !node.input(2).empty()) {  // of a Gemm
      const std::string output = node.output(0), product = graph.names().Make(output + "_product");
      graph.AddNode(use.graph, "Add", {product, node.input(2)}, output);
      node.set_output(0, product);
    }
    while (node.input_size() > 1) node.mutable_input()->RemoveLast();
    node.clear_attribute();
    node.set_op_type("MatMulNBits");
    node.set_domain(std::string(kMicrosoft));
    node.add_input(codes);
    node.add_input(scales);
    if (!zero_points.empty()) node.add_input(zero_points);
    SetAttribute(node, "K", static_cast<int64_t>(weight.layout.view.rows.count));
    SetAttribute(node, "N", columns);
    SetAttribute(node, "bits", 4);
    SetAttribute(node, "block_size", block_size);
  }
  return graph.ReplaceTensor(weight.weight, codes, DataType::kUint8,
                             std::vector<int64_t>{columns, blocks, block_size / 2}, weight.codes);
}

absl::Status UseTensor(const BlockWeight& weight, GraphAdditions& graph) {
  const std::string codes = graph.names().Make(weight.weight.name + "_quantized");
  const std::vector<int64_t> scale_dims = ScaleDims(weight);
  MP_ASSIGN_OR_RETURN(const std::string scales,
                      graph.AddConstant(weight.weight.graph, weight.weight.name + "_scale",
                                        DataType::kFloat, scale_dims, weight.scales));
  std::string zero_points;
  if (weight.has_zero_points()) {
    MP_ASSIGN_OR_RETURN(zero_points,
                        graph.AddConstant(weight.weight.graph, weight.weight.name + "_zero_point",
                                          StoredType(weight), scale_dims, weight.zero_points));
  }
  const auto add_attributes = [&](onnx::NodeProto& node, std::string_view axis) {
    SetAttribute(node, axis, static_cast<int64_t>(weight.axis));
    if (!weight.per_channel) {
      SetAttribute(node, "block_size", static_cast<int64_t>(weight.layout.block_size));
    }
  };
  bool others = false;
  const DataType type = Type(*weight.weight.tensor);
  for (const Use& use : weight.weight.uses) {
    if (!GathersRows(weight, use)) {
      others = true;
      continue;
    }
    onnx::NodeProto& node = *use.node;
    node.set_op_type("GatherBlockQuantized");
    node.set_domain(std::string(kMicrosoft));
    node.clear_attribute();
    node.set_input(0, codes);
    node.add_input(scales);
    if (!zero_points.empty()) node.add_input(zero_points);
    SetAttribute(node, "gather_axis", 0);
    add_attributes(node, "quantize_axis");
    node.set_output(0, graph.FloatsOf(type, use.graph, node.output(0)));
  }
  if (others) {
    const std::string floats = graph.FloatsOf(type, weight.weight.graph, weight.weight.name);
    onnx::NodeProto& node =
        graph.AddNode(weight.weight.graph, "DequantizeLinear", {codes, scales}, floats);
    if (!zero_points.empty()) node.add_input(zero_points);
    add_attributes(node, "axis");
  }
  return graph.ReplaceTensor(weight.weight, codes, StoredType(weight), weight.dims, weight.codes);
}

}  // namespace

int BlockWeight::offset() const {
  // MatMulNBits without zero points means 8, signed types without zero points mean 0.
  if (form == CodeLayout::kMatMulNBits) return rule.symmetric ? rule.middle() - 8 : 0;
  if (!is_signed) return 0;
  return rule.symmetric ? rule.middle() : 1 << (rule.stored_bits() - 1);
}

bool BlockWeight::has_zero_points() const {
  return !rule.symmetric || (form == CodeLayout::kTensor && !is_signed);
}

std::optional<v1::Skip> ChooseBlocks(const BlockChoice& choice, BlockWeight* weight) {
  const CandidateWeight& candidate = weight->weight;
  const auto dims = Dims(*candidate.tensor);
  const auto skip = [&](SkipReason reason, std::string_view detail) {
    return MakeSkip(reason, candidate.name, candidate.reader(), detail);
  };
  weight->dims.assign(dims.begin(), dims.end());
  const auto axis = BlockAxis(candidate, dims.size());
  if (!axis.has_value()) {
    return skip(SkipReason::kNoChannelAxis, "its readers have no axis along which to cut blocks");
  }
  const bool gathered = std::ranges::any_of(
      candidate.uses, [](const Use& use) { return use.node->op_type() == "Gather"; });
  const auto extent = static_cast<uint64_t>(dims[*axis]);
  uint64_t block_size = choice.block_size;
  if (block_size == 0 && gathered && weight->rule.bits != 8) block_size = 32;
  weight->per_channel = block_size == 0 || extent < kShortestBlock;
  if (weight->per_channel && candidate.channel_axis.has_value() && !gathered) {
    weight->axis = *candidate.channel_axis;
    const MatrixView view = ColumnsOfChannels(dims, weight->axis);
    weight->layout = {view, std::max<uint64_t>(view.rows.count, 1)};
  } else if (weight->per_channel && block_size == 0) {
    return skip(SkipReason::kNoChannelAxis, "its readers have no common channel axis; use blocks");
  } else {
    weight->per_channel = false;
    weight->axis = *axis;
    weight->layout = {ColumnsAlong(dims, *axis), block_size};
  }
  if (weight->layout.view.elements() / std::max<uint64_t>(weight->layout.scales(), 1) < 4) {
    return skip(SkipReason::kTooSmall,
                "fewer than 4 values per scale: scales would outweigh the codes");
  }
  const bool can_multiply = Type(*candidate.tensor) == DataType::kFloat &&
                            weight->rule.stored_bits() == 4 && !weight->per_channel &&
                            dims.size() == 2 && std::has_single_bit(block_size) &&
                            block_size >= 16 && block_size <= 256 &&
                            std::ranges::all_of(candidate.uses, [&](const Use& use) {
                              return CanBeMatMulNBits(use) && SummedAxis(use, 2) == weight->axis;
                            });
  weight->form =
      choice.matmul_nbits && can_multiply ? CodeLayout::kMatMulNBits : CodeLayout::kTensor;
  return std::nullopt;
}

absl::StatusOr<CodeWriter> MakeCodeWriter(WeightArena& arena, BlockWeight* weight) {
  const CodeSizes sizes = SizesOf(weight->layout, weight->rule.stored_bits(), weight->form);
  MP_ASSIGN_OR_RETURN(WeightArena::Room codes, arena.Allocate(sizes.codes));
  MP_ASSIGN_OR_RETURN(WeightArena::Room scales,
                      arena.Allocate(weight->layout.scales() * sizeof(float)));
  WeightArena::Room zero_points;
  if (weight->has_zero_points()) {
    MP_ASSIGN_OR_RETURN(zero_points, arena.Allocate(sizes.zero_points));
  }
  weight->codes = std::move(codes.weight);
  weight->scales = std::move(scales.weight);
  weight->zero_points = std::move(zero_points.weight);
  return CodeWriter(weight->layout, weight->rule.stored_bits(), weight->form, weight->offset(),
                    codes.bytes, zero_points.bytes, scales.bytes);
}

absl::Status ReplaceByBlocks(const std::vector<BlockWeight>& weights, GraphAdditions& graph) {
  for (const BlockWeight& weight : weights) {
    if (!weight.row_factors.empty()) MP_RETURN_IF_ERROR(DivideInputs(weight, graph));
    MP_RETURN_IF_ERROR(weight.form == CodeLayout::kMatMulNBits ? UseMatMulNBits(weight, graph)
                                                               : UseTensor(weight, graph));
  }
  return absl::OkStatus();
}

bool NeedsOpset21(const BlockWeight& weight) {
  if (weight.form == CodeLayout::kMatMulNBits) return false;
  if (weight.rule.stored_bits() == 8 && weight.per_channel) return false;
  return !std::ranges::all_of(weight.weight.uses,
                              [&](const Use& use) { return GathersRows(weight, use); });
}

void RequireDomains(Model& model, const std::vector<BlockWeight>& weights) {
  constexpr int64_t kFourBitTypes = 10;  // IR version
  onnx::ModelProto& proto = model.mutable_proto();
  bool microsoft = false;
  for (const BlockWeight& weight : weights) {
    microsoft = microsoft || weight.form == CodeLayout::kMatMulNBits ||
                std::ranges::any_of(weight.weight.uses,
                                    [&](const Use& use) { return GathersRows(weight, use); });
    if (weight.form == CodeLayout::kTensor && proto.ir_version() < kFourBitTypes) {
      proto.set_ir_version(kFourBitTypes);
    }
  }
  if (!microsoft || std::ranges::any_of(proto.opset_import(), [](const auto& import) {
        return import.domain() == kMicrosoft;
      })) {
    return;
  }
  auto& import = *proto.add_opset_import();
  import.set_domain(std::string(kMicrosoft));
  import.set_version(1);
}

std::string Describe(const BlockWeight& weight) {
  const BlockRule& rule = weight.rule;
  const std::string where =
      weight.per_channel
          ? FormatString("per channel, axis {}, {} scales", weight.axis, weight.layout.scales())
          : FormatString("blocks of {} on axis {}", weight.layout.block_size, weight.axis);
  return FormatString("{}{}{}, {}{}, {}", weight.is_signed ? "int" : "uint", rule.bits,
                      rule.symmetric ? "" : " asymmetric", where,
                      weight.form == CodeLayout::kMatMulNBits ? ", MatMulNBits" : "",
                      weight.method);
}

}  // namespace modelpress
