// Finding what SmoothQuant may scale; see smooth_targets.h.
#include "core/quant/smooth_targets.h"

#include <algorithm>
#include <map>
#include <utility>

#include "core/base/format_string.h"
#include "core/quant/channel_scaling.h"
#include "core/quant/skip.h"

namespace modelpress {
namespace {

constexpr int kLongestChain = 8;

bool Among(std::string_view value, std::initializer_list<std::string_view> list) {
  return std::ranges::find(list, value) != list.end();
}

class Finder {
 public:
  Finder(Model& model, const GraphIndex& index, std::vector<v1::Skip>* skips)
      : model_(model), index_(index), skips_(skips) {}

  std::vector<SmoothTarget> Find() {
    ForEachGraph(model_.mutable_proto(), [&](onnx::GraphProto& graph, int) {
      for (onnx::NodeProto& node : *graph.mutable_node()) {
        if (IsDefaultDomain(node.domain()) && Among(node.op_type(), {"MatMul", "Gemm"})) {
          AddReader(graph, node);
        }
      }
    });
    for (SmoothTarget& target : targets_) Absorb(&target);
    return std::move(targets_);
  }

 private:
  onnx::TensorProto* Float(const onnx::GraphProto& graph, const std::string& name) const {
    onnx::TensorProto* tensor = name.empty() ? nullptr : index_.Constant(graph, name);
    return tensor != nullptr && Type(*tensor) == DataType::kFloat ? tensor : nullptr;
  }
  bool IsOurs(const onnx::GraphProto& graph, const std::string& name) const {
    return index_.Uses(graph, name).size() == 1 && !index_.IsGraphOutput(graph, name);
  }

  void AddReader(onnx::GraphProto& graph, onnx::NodeProto& node) {
    onnx::TensorProto* weight = node.input_size() > 1 ? Float(graph, node.input(1)) : nullptr;
    if (weight == nullptr || index_.Constant(graph, node.input(0)) != nullptr) return;
    const auto skip = [&](SkipReason reason, std::string_view detail) {
      skips_->push_back(MakeSkip(reason, node.input(1), NodeName(node), detail));
    };
    const auto dims = Dims(*weight);
    if (dims.size() != 2 || dims[0] <= 0 || dims[1] <= 0) {
      return skip(SkipReason::kNoChannelAxis, "its weight is not a matrix");
    }
    if (node.op_type() == "Gemm" && IntAttribute(node, "transA", 0) != 0) {
      return skip(SkipReason::kNoChannelAxis, "a Gemm with transA has its channels elsewhere");
    }
    if (!IsOurs(graph, node.input(1))) {
      return skip(SkipReason::kOtherReaders, "its weight has other readers");
    }
    const bool transposed = node.op_type() == "Gemm" && IntAttribute(node, "transB", 0) != 0;
    SmoothReader reader{&node,
                        weight,
                        node.input(1),
                        transposed,
                        static_cast<uint64_t>(dims[transposed ? 1 : 0]),
                        static_cast<uint64_t>(dims[transposed ? 0 : 1])};
    const auto key = std::pair<const onnx::GraphProto*, std::string>(&graph, node.input(0));
    const auto [place, fresh] = places_.try_emplace(key, targets_.size());
    if (fresh) targets_.push_back({&graph, node.input(0), reader.channels, {}, {}, ""});
    SmoothTarget& target = targets_[place->second];
    if (reader.channels != target.channels) {
      return skip(SkipReason::kNoChannelAxis, "another layer reads the value with other channels");
    }
    target.readers.push_back(std::move(reader));
  }

  // Follows x backwards to constants that can take 1 / s.
  void Absorb(SmoothTarget* target) {
    std::vector<SmoothAbsorber> absorbers;
    const std::string why = Follow(*target, &absorbers);
    if (why.empty()) {
      target->absorbers = std::move(absorbers);
    } else {
      target->not_absorbed = why;
    }
  }

  // Where a constant has its channels on the last axis (or is one number). Empty: taken.
  std::string Take(onnx::GraphProto& graph, onnx::NodeProto& node, int input, uint64_t channels,
                   bool divisor, bool may_expand, std::vector<SmoothAbsorber>* absorbers) const {
    const onnx::TensorProto* tensor = Float(graph, node.input(input));
    if (tensor == nullptr) return FormatString("a constant of {} is computed", NodeName(node));
    const auto dims = Dims(*tensor);
    const auto bytes = model_.Bytes(*tensor);
    if (!bytes.ok()) return "a constant without bytes";
    SmoothAbsorber absorber{&graph, &node, input, 1, 1, divisor, std::nullopt};
    const uint64_t count = bytes->size() / sizeof(float);
    if (may_expand && count == 1) {
      absorber.scalar = FloatAt(*bytes, 0);
    } else if (dims.empty() || static_cast<uint64_t>(dims.back()) != channels) {
      return FormatString("a constant of {} is not one number for each channel", NodeName(node));
    } else if (!IsOurs(graph, node.input(input))) {
      return FormatString("a constant of {} has other readers", NodeName(node));
    } else {
      absorber.outer = count / channels;
    }
    absorbers->push_back(absorber);
    return "";
  }

  std::string Follow(const SmoothTarget& target, std::vector<SmoothAbsorber>* absorbers) const {
    onnx::GraphProto* graph = index_.DefiningGraph(*target.graph, target.value);
    std::string value = target.value;
    size_t readers = target.readers.size();
    for (int step = 0; step < kLongestChain; ++step) {
      if (graph == nullptr || index_.Uses(*graph, value).size() != readers ||
          index_.IsGraphOutput(*graph, value)) {
        return FormatString("'{}' has other readers", value);
      }
      onnx::NodeProto* node = index_.Producer(*graph, value);
      if (node == nullptr) return FormatString("'{}' is an input", value);
      const std::string& op = node->op_type();
      if (Among(op, {"LayerNormalization", "SimplifiedLayerNormalization"}) &&
          node->output(0) == value) {
        if (IntAttribute(*node, "axis", -1) != -1) return "a norm over several axes";
        for (int i = 1; i < node->input_size(); ++i) {
          if (node->input(i).empty()) continue;
          const std::string why = Take(*graph, *node, i, target.channels, false, false, absorbers);
          if (!why.empty()) return why;
        }
        return node->input_size() > 1 ? "" : "a norm without a scale";
      }
      if (!IsDefaultDomain(node->domain())) return FormatString("made by {}", op);
      if (op == "MatMul" || op == "Gemm") return TakeLinear(*graph, *node, target, absorbers);
      if (Among(op, {"Relu", "LeakyRelu", "Identity", "Dropout"})) {
        value = node->input(0);
        graph = index_.DefiningGraph(*graph, value);
        readers = 1;
        continue;
      }
      if (!Among(op, {"Add", "Sub", "Mul", "Div"})) return FormatString("made by {}", op);
      const int constant = index_.Constant(*graph, node->input(1)) != nullptr   ? 1
                           : index_.Constant(*graph, node->input(0)) != nullptr ? 0
                                                                                : -1;
      if (constant < 0) return FormatString("made by {} of two values", op);
      if (op == "Div" && constant == 0) return "made by Div of a constant";
      const bool product = op == "Mul" || op == "Div";
      const std::string why =
          Take(*graph, *node, constant, target.channels, op == "Div", product, absorbers);
      if (!why.empty() || product) return why;
      value = node->input(1 - constant);
      graph = index_.DefiningGraph(*graph, value);
      readers = 1;
    }
    return "nothing near takes it";
  }

  // Output channels of a layer before this one.
  std::string TakeLinear(onnx::GraphProto& graph, onnx::NodeProto& node, const SmoothTarget& target,
                         std::vector<SmoothAbsorber>* absorbers) const {
    const onnx::TensorProto* weight = Float(graph, node.input(1));
    if (weight == nullptr || !IsOurs(graph, node.input(1)) || Dims(*weight).size() != 2) {
      return FormatString("the weight of {} is not a matrix of its own", NodeName(node));
    }
    const bool transposed = node.op_type() == "Gemm" && IntAttribute(node, "transB", 0) != 0;
    const auto dims = Dims(*weight);
    if (static_cast<uint64_t>(dims[transposed ? 0 : 1]) != target.channels) {
      return "channels that do not fit";
    }
    SmoothAbsorber absorber{&graph, &node, 1, 1, 1, false, std::nullopt};
    (transposed ? absorber.inner : absorber.outer) =
        static_cast<uint64_t>(dims[transposed ? 1 : 0]);
    absorbers->push_back(absorber);
    if (node.input_size() < 3 || node.input(2).empty()) return "";
    return Take(graph, node, 2, target.channels, false, false, absorbers);
  }

  Model& model_;
  const GraphIndex& index_;
  std::vector<v1::Skip>* skips_;
  std::map<std::pair<const onnx::GraphProto*, std::string>, size_t> places_;
  std::vector<SmoothTarget> targets_;
};

}  // namespace

std::vector<SmoothTarget> FindSmoothTargets(Model& model, const GraphIndex& index,
                                            std::vector<v1::Skip>* skips) {
  return Finder(model, index, skips).Find();
}

}  // namespace modelpress
