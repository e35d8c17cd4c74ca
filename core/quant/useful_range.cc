// Where readers saturate; see useful_range.h.
#include "core/quant/useful_range.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>

namespace modelpress {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

class Finder {
 public:
  Finder(Model& model, const GraphIndex& index) : model_(model), index_(index) {}

  // What one reader of `name` tells apart; nothing if all of it.
  std::optional<ValueRange> Of(const onnx::GraphProto& graph, const std::string& name,
                               const Use& use) const {
    const onnx::NodeProto& node = *use.node;
    if (use.graph != &graph || !IsDefaultDomain(node.domain())) return std::nullopt;
    const std::string& op = node.op_type();
    if (op == "Mul" && node.input_size() == 2) {
      const onnx::NodeProto* other = index_.Producer(graph, node.input(1 - use.input));
      if (other == nullptr || other->op_type() != "HardSigmoid" || other->input_size() != 1 ||
          other->input(0) != name) {
        return std::nullopt;
      }
      const auto sigmoid = HardSigmoid(*other);
      if (!sigmoid.has_value()) return std::nullopt;
      return ValueRange{sigmoid->min, kInfinity};
    }
    if (use.input != 0) return std::nullopt;
    if (op == "Relu") return ValueRange{0, kInfinity};
    if (op == "HardSwish") return ValueRange{-3, kInfinity};
    if (op == "HardSigmoid") return HardSigmoid(node);
    if (op == "Clip") return Clip(graph, node);
    return std::nullopt;
  }

 private:
  static std::optional<ValueRange> HardSigmoid(const onnx::NodeProto& node) {
    const double alpha = FloatAttribute(node, "alpha", 0.2f),
                 beta = FloatAttribute(node, "beta", 0.5f);
    if (!(alpha > 0)) return std::nullopt;
    return ValueRange{static_cast<float>(-beta / alpha), static_cast<float>((1 - beta) / alpha)};
  }

  std::optional<ValueRange> Clip(const onnx::GraphProto& graph, const onnx::NodeProto& node) const {
    ValueRange range = {FloatAttribute(node, "min", -kInfinity),
                        FloatAttribute(node, "max", kInfinity)};
    for (int i = 1; i < std::min(node.input_size(), 3); ++i) {
      if (node.input(i).empty()) continue;
      const onnx::TensorProto* tensor = index_.Constant(graph, node.input(i));
      if (tensor == nullptr || Type(*tensor) != DataType::kFloat) return std::nullopt;
      const auto bytes = model_.Bytes(*tensor);
      if (!bytes.ok() || bytes->size() != sizeof(float)) return std::nullopt;
      std::memcpy(i == 1 ? &range.min : &range.max, bytes->data(), sizeof(float));
    }
    return range;
  }

  Model& model_;
  const GraphIndex& index_;
};

}  // namespace

std::map<ValueKey, ValueRange> UsefulRanges(Model& model, const GraphIndex& index) {
  const Finder finder(model, index);
  std::map<ValueKey, ValueRange> ranges;
  ForEachNamedGraph(model.mutable_proto(), [&](onnx::GraphProto& graph, const std::string& path) {
    for (const onnx::NodeProto& node : graph.node()) {
      for (const std::string& name : node.output()) {
        if (name.empty() || index.IsGraphOutput(graph, name)) continue;
        ValueRange widest;
        bool bounded = !index.Uses(graph, name).empty();
        for (const Use& use : index.Uses(graph, name)) {
          const auto range = finder.Of(graph, name, use);
          // NaN bounds fail here too.
          bounded = bounded && range.has_value() && range->min <= range->max;
          if (!bounded) break;
          widest.min = std::min(widest.min, range->min);
          widest.max = std::max(widest.max, range->max);
        }
        if (bounded) ranges[{path, name}] = widest;
      }
    }
  });
  return ranges;
}

}  // namespace modelpress
