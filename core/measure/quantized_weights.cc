// Finding quantized weights: see quantized_weights.h.
#include "core/measure/quantized_weights.h"

#include <algorithm>
#include <limits>
#include <string_view>

namespace modelpress {
namespace {

// Operators that read quantized weights, and at which inputs; -1: none. `axis` of the zero points,
// where the operator has no attribute for it.
struct QuantizedOperand {
  std::string_view op;
  int weight, scale, zero_point;
  int64_t axis = 1;
  std::string_view axis_attribute = "axis";
};
constexpr QuantizedOperand kQuantizedOperands[] = {
    {"DequantizeLinear", 0, 1, 2},
    {"QLinearConv", 3, 4, 5},
    {"QLinearMatMul", 0, 1, 2},
    {"QLinearMatMul", 3, 4, 5},
    {"ConvInteger", 1, -1, 3},
    {"MatMulInteger", 1, -1, 3},
    {"MatMulInteger", 0, -1, 2},
    {"DynamicQuantizeLSTM", 1, 8, 9, 2},
    {"DynamicQuantizeLSTM", 2, 10, 11, 2},
    {"MatMulNBits", 1, 2, 3},
    {"GatherBlockQuantized", 0, 2, 3, 1, "quantize_axis"},
};

constexpr int64_t kUnknownAxis = std::numeric_limits<int64_t>::max();

// Operators that only choose or rearrange elements of their first input: codes of an embedding are
// gathered first and dequantized afterwards.
bool OnlyMoves(const onnx::NodeProto& node) {
  constexpr std::string_view kMovers[] = {"Gather",  "Reshape",   "Transpose", "Flatten",
                                          "Squeeze", "Unsqueeze", "Slice",     "Identity"};
  return node.input_size() > 0 && std::ranges::find(kMovers, node.op_type()) != std::end(kMovers);
}

// The constant behind an input; `direct` tells whether nothing lies between.
const onnx::TensorProto* ConstantBehind(const GraphIndex& index, const onnx::GraphProto& graph,
                                        const onnx::NodeProto& node, int input, bool* direct) {
  constexpr int kLongestChain = 8;
  *direct = true;
  if (input < 0 || input >= node.input_size()) return nullptr;
  std::string_view name = node.input(input);
  const onnx::GraphProto* scope = &graph;
  for (int i = 0; i < kLongestChain && !name.empty(); ++i) {
    if (const onnx::TensorProto* tensor = index.Constant(*scope, name)) return tensor;
    const onnx::NodeProto* producer = index.Producer(*scope, name);
    if (producer == nullptr || !OnlyMoves(*producer)) return nullptr;
    scope = index.DefiningGraph(*scope, name);
    name = producer->input(0);
    *direct = false;
  }
  return nullptr;
}

// The scales of a weight of MatMulInteger and ConvInteger meet the one of the activation before both
// meet the product.
void AddProductScales(const GraphIndex& index, const onnx::GraphProto& graph,
                      const onnx::NodeProto& mul, QuantizedWeights* found) {
  if (mul.input_size() != 2) return;
  for (const int i : {0, 1}) {
    const onnx::NodeProto* producer = index.Producer(graph, mul.input(i));
    if (producer == nullptr || producer->op_type() != "DynamicQuantizeLinear" ||
        producer->output_size() < 2 || producer->output(1) != mul.input(i)) {
      continue;
    }
    bool ignored = true;
    if (const auto* scale = ConstantBehind(index, graph, mul, 1 - i, &ignored)) {
      found->scales_and_zero_points.insert(scale);
    }
  }
}

bool IsNarrowInteger(const onnx::TensorProto& tensor) {
  const int bits = BitsPerElement(Type(tensor));
  return bits > 0 && bits <= 8 && !IsFloatingPoint(Type(tensor)) && Type(tensor) != DataType::kBool;
}

// Codes times a scale, spelled Cast and Mul: rows of an embedding, for which DequantizeLinear has
// no form.
void AddCast(const GraphIndex& index, const onnx::GraphProto& graph, const onnx::NodeProto& cast,
             QuantizedWeights* found) {
  bool ignored = true;
  const onnx::TensorProto* weight = ConstantBehind(index, graph, cast, 0, &ignored);
  if (weight == nullptr || !IsNarrowInteger(*weight) || cast.output_size() != 1) return;
  if (!IsFloatingPoint(static_cast<DataType>(IntAttribute(cast, "to", 0)))) return;
  for (const Use& use : index.Uses(graph, cast.output(0))) {
    if (use.node->op_type() != "Mul" || use.node->input_size() != 2) continue;
    const onnx::TensorProto* scale =
        ConstantBehind(index, *use.graph, *use.node, 1 - use.input, &ignored);
    if (scale == nullptr) continue;
    found->weights[weight] = {.zero_point = nullptr, .axis = kUnknownAxis};
    found->scales_and_zero_points.insert(scale);
  }
}

}  // namespace

QuantizedWeights FindQuantizedWeights(const GraphIndex& index, onnx::ModelProto& proto) {
  QuantizedWeights found;
  ForEachGraph(proto, [&](onnx::GraphProto& graph, int) {
    for (const onnx::NodeProto& node : graph.node()) {
      if (node.op_type() == "Cast") AddCast(index, graph, node, &found);
      if (node.op_type() == "Mul") AddProductScales(index, graph, node, &found);
      for (const QuantizedOperand& operand : kQuantizedOperands) {
        if (operand.op != node.op_type()) continue;
        bool direct = true, ignored = true;
        const onnx::TensorProto* weight =
            ConstantBehind(index, graph, node, operand.weight, &direct);
        if (weight == nullptr) continue;
        const onnx::TensorProto* zero_point =
            ConstantBehind(index, graph, node, operand.zero_point, &ignored);
        // Axes of a weight that was rearranged on the way are not those of the operator.
        found.weights[weight] = {
            zero_point,
            direct ? IntAttribute(node, operand.axis_attribute, operand.axis) : kUnknownAxis,
            IntAttribute(node, "block_size", 0)};
        if (operand.op == "MatMulNBits" && IntAttribute(node, "bits", 4) == 4) {
          found.weights[weight].packed_rows = IntAttribute(node, "K", 0);
          found.weights[weight].packed_columns = IntAttribute(node, "N", 0);
        }
        found.scales_and_zero_points.insert(zero_point);
        found.scales_and_zero_points.insert(
            ConstantBehind(index, graph, node, operand.scale, &ignored));
      }
    }
  });
  return found;
}

}  // namespace modelpress
