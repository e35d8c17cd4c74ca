// Finding what can be trained: see trainable.h.
#include "core/training/trainable.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <utility>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/quant/skip.h"
#include "core/quant/weight_selection.h"

namespace modelpress {
namespace {

constexpr std::string_view kMicrosoft = "com.microsoft";

// Inputs that are biases, scales or offsets.
struct VectorInput {
  std::string_view op;
  std::initializer_list<int> inputs;
};
const VectorInput kVectorInputs[] = {
    {"Conv", {2}},
    {"ConvTranspose", {2}},
    {"Gemm", {2}},
    {"PRelu", {1}},
    {"LSTM", {3, 7}},
    {"GRU", {3}},
    {"RNN", {3}},
    {"BatchNormalization", {1, 2}},
    {"LayerNormalization", {1, 2}},
    {"BiasGelu", {1}},
    {"FastGelu", {1}},
    {"InstanceNormalization", {1, 2}},
    {"MatMulNBits", {5}},
    {"GroupNormalization", {1, 2}},
    {"SimplifiedLayerNormalization", {1}},
};

bool IsVectorInput(const GraphIndex& index, const Use& use, const onnx::TensorProto& tensor) {
  const std::string& op = use.node->op_type();
  for (const VectorInput& row : kVectorInputs) {
    if (row.op == op) return std::ranges::find(row.inputs, use.input) != row.inputs.end();
  }
  if (op != "Add" && op != "Sub" && op != "Mul" && op != "Div") return false;
  // One value for each channel; single numbers and tables are constants of the formula (a mask, an epsilon, positions).
  int64_t elements = 1, extents = 0;
  for (const int64_t extent : tensor.dims()) {
    elements *= extent;
    extents += extent != 1;
  }
  if (extents != 1 || elements < 2) return false;
  const onnx::NodeProto* other = index.Producer(*use.graph, use.node->input(1 - use.input));
  return other == nullptr || other->op_type() != "Cast";  // codes that are decoded by Cast and Mul
}

bool IsStatistic(const Use& use) {
  return use.node->op_type() == "BatchNormalization" && (use.input == 3 || use.input == 4);
}

bool AllFinite(const Model& model, const onnx::TensorProto& tensor) {
  const auto bytes = model.Bytes(tensor);
  if (!bytes.ok()) return false;
  for (size_t at = 0; at + sizeof(float) <= bytes->size(); at += sizeof(float)) {
    float value;
    std::memcpy(&value, bytes->data() + at, sizeof value);
    if (!std::isfinite(value)) return false;
  }
  return true;
}

bool IsSelected(const WeightSelection& selection, const std::string& name,
                const std::vector<Use>& uses) {
  if (!selection.op_types().empty() && std::ranges::none_of(uses, [&](const Use& use) {
        return std::ranges::contains(selection.op_types(), use.node->op_type());
      })) {
    return false;
  }
  const auto matches = [&](const std::string& glob) {
    return GlobMatches(glob, name) || std::ranges::any_of(uses, [&](const Use& use) {
             return GlobMatches(glob, use.node->name());
           });
  };
  if (std::ranges::any_of(selection.exclude(), matches)) return false;
  return selection.include().empty() || std::ranges::any_of(selection.include(), matches);
}

// Which input of a node holds codes; -1: none.
int CodesInput(const onnx::NodeProto& node) {
  if (node.op_type() == "DequantizeLinear") return 0;
  if (node.domain() == kMicrosoft && node.op_type() == "MatMulNBits") return 1;
  if (node.domain() == kMicrosoft && node.op_type() == "GatherBlockQuantized") return 0;
  return -1;
}

// The grid by which a node reads the codes, or why they cannot be trained.
absl::StatusOr<CodeGrid> GridOf(const GraphIndex& index, const Use& use,
                                const onnx::TensorProto& codes, std::vector<int64_t>* dims) {
  const onnx::NodeProto& node = *use.node;
  CodeGrid grid;
  const auto constant = [&](int input) -> onnx::TensorProto* {
    if (input >= node.input_size() || node.input(input).empty()) return nullptr;
    return index.Constant(*use.graph, node.input(input));
  };
  const auto refused = [](std::string_view why) {
    return absl::UnimplementedError(absl::string_view(why.data(), why.size()));
  };
  grid.matmul_nbits = node.op_type() == "MatMulNBits";
  const int scale_input = node.op_type() == "DequantizeLinear" ? 1 : 2;
  grid.scales = constant(scale_input);
  grid.zero_points = constant(scale_input + 1);
  if (grid.scales == nullptr || Type(*grid.scales) != DataType::kFloat) {
    return refused("its scales are no float32 constants");
  }
  const bool names_zero_point =
      node.input_size() > scale_input + 1 && !node.input(scale_input + 1).empty();
  if (names_zero_point && grid.zero_points == nullptr)
    return refused("its zero points are no constants");
  grid.block_size = IntAttribute(node, "block_size", 0);
  if (grid.matmul_nbits) {
    if (IntAttribute(node, "bits", 4) != 4 || node.input_size() > 4 + 2 ||
        (node.input_size() > 4 && !node.input(4).empty())) {
      return refused("only 4-bit codes in the order of the input are trained");
    }
    if (names_zero_point && Type(*grid.zero_points) != DataType::kUint8) {
      return refused("its zero points are no packed codes");
    }
    *dims = {IntAttribute(node, "N", 0), IntAttribute(node, "K", 0)};
    if ((*dims)[0] < 1 || (*dims)[1] < 1 || grid.block_size < 2)
      return refused("its shape is not known");
    grid.axis = 1;
    return grid;
  }
  switch (Type(codes)) {
    case DataType::kInt8:
    case DataType::kUint8:
    case DataType::kInt4:
    case DataType::kUint4:
      break;
    default:
      return refused("codes of this type are not trained");
  }
  dims->assign(codes.dims().begin(), codes.dims().end());
  const auto rank = static_cast<int64_t>(dims->size());
  const bool single =
      grid.scales->dims_size() == 0 || (grid.scales->dims_size() == 1 && grid.scales->dims(0) == 1);
  if (single && grid.block_size == 0) return grid;
  const char* const name = scale_input == 1 ? "axis" : "quantize_axis";
  grid.axis = IntAttribute(node, name, 1);
  if (grid.axis < 0) grid.axis += rank;
  if (grid.axis < 0 || grid.axis >= rank) return refused("its axis does not exist");
  const int64_t extent = (*dims)[grid.axis];
  if (grid.block_size == 0) {
    if (grid.scales->dims_size() != 1 || grid.scales->dims(0) != extent) {
      return refused("its scales do not fit its axis");
    }
    return grid;
  }
  if (grid.scales->dims_size() != rank) return refused("its scales do not fit its blocks");
  for (int64_t i = 0; i < rank; ++i) {
    const int64_t wanted =
        i == grid.axis ? (extent + grid.block_size - 1) / grid.block_size : (*dims)[i];
    if (grid.scales->dims(static_cast<int>(i)) != wanted) {
      return refused("its scales do not fit its blocks");
    }
  }
  return grid;
}

// Codes of weights in the main graph.
void FindCodes(Model& model, const GraphIndex& index, const WeightSelection& selection,
               Trainables* found) {
  onnx::GraphProto& graph = *model.mutable_proto().mutable_graph();
  std::map<const onnx::TensorProto*, bool> seen;
  for (const onnx::NodeProto& node : graph.node()) {
    const int input = CodesInput(node);
    if (input < 0 || input >= node.input_size()) continue;
    onnx::TensorProto* tensor = index.Constant(graph, node.input(input));
    if (tensor == nullptr || !seen.try_emplace(tensor, true).second) continue;
    const std::string& name = node.input(input);
    const std::vector<Use>& uses = index.Uses(graph, name);
    Trainable parameter{.tensor = tensor,
                        .name = name,
                        .node = NodeName(node),
                        .is_weight = true,
                        .is_coded = true};
    const auto skip = [&](SkipReason reason, std::string_view why) {
      found->skips.push_back(MakeSkip(reason, name, parameter.node, why));
    };
    if (!IsSelected(selection, name, uses)) {
      skip(SkipReason::kExcluded, "not among the weights that are to be trained");
      continue;
    }
    absl::StatusOr<CodeGrid> grid = absl::UnimplementedError("nobody reads it");
    for (const Use& use : uses) {
      if (CodesInput(*use.node) != use.input) {
        grid = absl::UnimplementedError("its codes are read in another way too");
        break;
      }
      std::vector<int64_t> dims;
      const absl::StatusOr<CodeGrid> next = GridOf(index, use, *tensor, &dims);
      const bool differs =
          grid.ok() && next.ok() &&
          (grid->scales != next->scales || grid->zero_points != next->zero_points ||
           grid->axis != next->axis || grid->block_size != next->block_size ||
           grid->matmul_nbits != next->matmul_nbits);
      if (differs) {
        grid = absl::UnimplementedError("its readers decode it in different ways");
        break;
      }
      grid = next;
      parameter.dims = dims;
      if (!grid.ok()) break;
    }
    if (!grid.ok()) {
      skip(SkipReason::kAlreadyQuantized, std::string(grid.status().message()));
      continue;
    }
    parameter.grid = *grid;
    found->parameters.push_back(std::move(parameter));
  }
}

}  // namespace

absl::StatusOr<Trainables> FindTrainables(Model& model, const GraphIndex& index,
                                          const WeightSelection& selection, bool statistics) {
  Trainables found;
  onnx::GraphProto& graph = *model.mutable_proto().mutable_graph();
  WeightSelection everything = selection;
  if (!everything.has_min_elements()) everything.set_min_elements(1);
  MP_ASSIGN_OR_RETURN(SelectedWeights selected, SelectWeights(model, index, everything));
  const auto add = [&](onnx::TensorProto* tensor, const std::string& name, std::string_view node,
                       bool is_weight, bool is_statistic) {
    const auto skip = [&](SkipReason reason, std::string_view why) {
      found.skips.push_back(MakeSkip(reason, name, node, why));
    };
    if (Type(*tensor) != DataType::kFloat) {
      skip(SkipReason::kNotFloat,
           FormatString("only float32 is trained, not {}", DataTypeName(Type(*tensor))));
    } else if (!AllFinite(model, *tensor)) {
      skip(SkipReason::kNotFinite, "holds NaN or infinity");
    } else {
      found.parameters.push_back({.tensor = tensor,
                                  .name = name,
                                  .node = std::string(node),
                                  .dims = {tensor->dims().begin(), tensor->dims().end()},
                                  .is_weight = is_weight,
                                  .is_statistic = is_statistic});
    }
  };
  for (const CandidateWeight& weight : selected.weights) {
    if (weight.graph != &graph) {
      found.skips.push_back(MakeSkip(SkipReason::kInsideFunction, weight.name, weight.reader(),
                                     "only weights of the main graph are trained"));
      continue;
    }
    add(weight.tensor, weight.name, weight.reader(), /*is_weight=*/true, /*is_statistic=*/false);
  }
  for (v1::Skip& row : selected.skips) {
    // What is no weight is "excluded" there too.
    onnx::TensorProto* tensor = row.reason() == SkipReasonName(SkipReason::kTooSmall)
                                    ? nullptr
                                    : index.Constant(graph, row.tensor());
    const bool excluded = tensor == nullptr ||
                          (row.reason() == SkipReasonName(SkipReason::kExcluded) &&
                           !IsSelected(selection, row.tensor(), index.Uses(graph, row.tensor())));
    if (!excluded && IsFloatingPoint(Type(*tensor))) {
      const std::vector<Use>& uses = index.Uses(graph, row.tensor());
      const bool trained = std::ranges::any_of(
          uses, [&](const Use& use) { return IsVectorInput(index, use, *tensor); });
      const bool statistic = statistics && std::ranges::any_of(uses, IsStatistic);
      if (trained || statistic) {
        add(tensor, row.tensor(), row.node(), /*is_weight=*/false, !trained);
        continue;
      }
    }
    found.skips.push_back(std::move(row));
  }
  FindCodes(model, index, selection, &found);
  return found;
}

}  // namespace modelpress
