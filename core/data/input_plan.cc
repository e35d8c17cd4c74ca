// Ranges of integer inputs from their uses in the graph: see input_plan.h.
#include "core/data/input_plan.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string_view>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/model/graph.h"

namespace modelpress {
namespace {

// Operators that hand values on unchanged, from their first input (Concat: from any) to their outputs.
bool HandsOn(const onnx::NodeProto& node, int input) {
  static const auto& operators = *new absl::flat_hash_set<std::string>{
      "Cast",           "Clip",      "Concat",    "Expand",  "Flatten", "Gather",
      "GatherElements", "Identity",  "Reshape",   "Slice",   "Split",   "Squeeze",
      "Tile",           "Transpose", "Unsqueeze", "Dropout", "Pad"};
  return operators.contains(node.op_type()) && (input == 0 || node.op_type() == "Concat");
}

class RangeFinder {
 public:
  explicit RangeFinder(const Model& model)
      : model_(model.Clone()), index_(model_.mutable_proto()) {}

  // Narrows the plan by every use of the input that can be followed.
  void Narrow(InputPlan* plan) {
    limit_ = std::numeric_limits<int64_t>::max();
    compared_with_.reset();
    is_truth_ = false;
    is_positive_ = false;
    visited_.clear();
    Follow(*model_.mutable_proto().mutable_graph(), plan->name);

    const bool is_scalar =
        std::ranges::all_of(plan->dims, [](int64_t extent) { return extent == 1; });
    const std::string name = absl::AsciiStrToLower(plan->name);
    if (is_scalar && compared_with_.has_value()) {
      plan->low = plan->high = *compared_with_;
    } else if (limit_ != std::numeric_limits<int64_t>::max()) {
      plan->high = std::max<int64_t>(limit_ - 1, 0);
    } else if (is_truth_ || name.find("mask") != std::string::npos) {
      plan->is_mask = true;
    } else if (plan->type == DataType::kUint8 && plan->dims.size() >= 3) {
      plan->high = 255;  // an image
    }
    if (is_positive_) {
      // The runtime divides by these, and an integer division by zero ends the process.
      plan->is_mask = false;
      plan->low = std::max<int64_t>(plan->low, 1);
      plan->high = std::max(plan->low, plan->high);
    }
  }

 private:
  void Follow(onnx::GraphProto& scope, const std::string& name) {
    // An explicit stack: chains of nodes are as long as the model likes.
    std::vector<std::pair<onnx::GraphProto*, std::string>> pending = {{&scope, name}};
    while (!pending.empty()) {
      auto [graph, value] = std::move(pending.back());
      pending.pop_back();
      if (!visited_.emplace(graph, value).second) continue;
      for (const Use& use : index_.Uses(*graph, value)) {
        Note(use);
        if (!HandsOn(*use.node, use.input)) continue;
        for (const std::string& output : use.node->output()) {
          if (!output.empty()) pending.emplace_back(use.graph, output);
        }
      }
    }
  }

  void Note(const Use& use) {
    const onnx::NodeProto& node = *use.node;
    const std::string& type = node.op_type();
    if ((type == "Gather" || type == "GatherElements") && use.input == 1) {
      Limit(Extent(*use.graph, node.input(0), IntAttribute(node, "axis", 0)));
    } else if (type == "EmbedLayerNormalization" && use.input <= 1 && node.input_size() > 4) {
      Limit(Extent(*use.graph, node.input(use.input == 0 ? 2 : 4), 0));
    } else if (type == "OneHot" && use.input == 0 && node.input_size() > 1) {
      Limit(ConstantInteger(*use.graph, node.input(1)));
    } else if (type == "Equal" && node.input_size() == 2) {
      const auto constant = ConstantInteger(*use.graph, node.input(1 - use.input));
      if (constant.has_value() && !compared_with_.has_value()) compared_with_ = constant;
    } else if (type == "Cast" && IntAttribute(node, "to", 0) == onnx::TensorProto::BOOL) {
      is_truth_ = true;
    } else if (((type == "Div" || type == "Mod") && use.input == 1) ||
               (type == "Col2Im" && use.input >= 1)) {
      is_positive_ = true;
    }
  }

  void Limit(std::optional<int64_t> extent) {
    if (extent.has_value() && *extent > 0) limit_ = std::min(limit_, *extent);
  }

  // Extent of an axis of a table, through operators that keep its shape.
  std::optional<int64_t> Extent(onnx::GraphProto& scope, std::string name, int64_t axis) {
    constexpr int kMaxSteps = 8;
    onnx::GraphProto* graph = &scope;
    for (int step = 0; step < kMaxSteps && graph != nullptr; ++step) {
      if (const onnx::TensorProto* table = index_.Constant(*graph, name)) {
        return At(table->dims(), axis);
      }
      onnx::GraphProto* defined_in = index_.DefiningGraph(*graph, name);
      if (defined_in == nullptr) return std::nullopt;
      for (const auto* values : {&defined_in->value_info(), &defined_in->input()}) {
        for (const onnx::ValueInfoProto& value : *values) {
          if (value.name() != name) continue;
          std::vector<int64_t> dims;
          for (const auto& dim : value.type().tensor_type().shape().dim()) {
            dims.push_back(dim.dim_value());
          }
          if (const auto extent = At(dims, axis)) return extent;
        }
      }
      const onnx::NodeProto* producer = index_.Producer(*graph, name);
      static const auto& same_shape = *new absl::flat_hash_set<std::string>{
          "Cast", "DequantizeLinear", "Dropout", "Identity", "Mul"};
      if (producer == nullptr || !same_shape.contains(producer->op_type()) ||
          producer->input_size() == 0) {
        return std::nullopt;
      }
      name = producer->input(0);
      graph = defined_in;
    }
    return std::nullopt;
  }

  template <typename DimList>
  static std::optional<int64_t> At(const DimList& dims, int64_t axis) {
    const auto rank = static_cast<int64_t>(dims.size());
    if (axis < 0) axis += rank;
    if (axis < 0 || axis >= rank) return std::nullopt;
    return dims[static_cast<int>(axis)];
  }

  // The value of a constant of one integer.
  std::optional<int64_t> ConstantInteger(onnx::GraphProto& scope, const std::string& name) {
    const onnx::TensorProto* tensor = index_.Constant(scope, name);
    if (tensor == nullptr) return std::nullopt;
    const auto bytes = model_.Bytes(*tensor);
    if (!bytes.ok()) return std::nullopt;
    if (Type(*tensor) == DataType::kInt64 && bytes->size() == 8) {
      int64_t value;
      std::memcpy(&value, bytes->data(), sizeof value);
      return value;
    }
    if (Type(*tensor) == DataType::kInt32 && bytes->size() == 4) {
      int32_t value;
      std::memcpy(&value, bytes->data(), sizeof value);
      return value;
    }
    return std::nullopt;
  }

  Model model_;  // GraphIndex wants one that it could change
  GraphIndex index_;
  absl::flat_hash_set<std::pair<const onnx::GraphProto*, std::string>> visited_;
  int64_t limit_ = 0;
  std::optional<int64_t> compared_with_;
  bool is_truth_ = false;
  bool is_positive_ = false;
};

}  // namespace

absl::StatusOr<std::vector<InputPlan>> PlanInputs(const Model& model) {
  const std::vector<ValueInfo> inputs = DeclaredInputs(model);
  const std::vector<std::vector<int64_t>> extents = ChooseExtents(inputs);
  RangeFinder finder(model);
  std::vector<InputPlan> plans;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i].is_tensor) {
      return Error(
                 ERROR_REASON_DATA_INVALID,
                 FormatString("input '{}' is a sequence, map or optional, for which no samples can "
                              "be made up",
                              inputs[i].name))
          .With("input", inputs[i].name)
          .Remedy("use a model whose inputs are tensors");
    }
    InputPlan plan{.name = inputs[i].name, .type = inputs[i].type, .dims = extents[i]};
    finder.Narrow(&plan);
    plans.push_back(std::move(plan));
  }
  return plans;
}

}  // namespace modelpress
