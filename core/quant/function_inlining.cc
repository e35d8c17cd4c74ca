// Model-local functions into the graphs that call them; see function_inlining.h.
#include "core/quant/function_inlining.h"

#include <algorithm>
#include <exception>
#include <limits>
#include <optional>
#include <tuple>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "core/base/format_string.h"
#include "core/model/graph.h"
#include "onnx/inliner/inliner.h"

namespace modelpress {
namespace {

constexpr uint64_t kMaxNodes = 1'000'000;
constexpr int kMaxDepth = 100;
// Scalars of functions that are called many times are copied with them.
constexpr uint64_t kCopiedBytes = 1 << 20;

// What a body costs with everything that it calls put in its place.
struct Expansion {
  uint64_t nodes = 0;
  uint64_t bytes = 0;

  void Add(const Expansion& other) {
    constexpr uint64_t kMost = std::numeric_limits<uint64_t>::max() / 4;
    nodes = std::min(kMost, nodes + other.nodes);
    bytes = std::min(kMost, bytes + other.bytes);
  }
};

class Measure {
 public:
  explicit Measure(const Model& model) : model_(model) {
    for (const auto& function : model.proto().functions()) {
      functions_[Key(function.domain(), function.name())] = {&function, std::nullopt, false};
    }
  }

  // Nothing if the calls go in a circle or too deep.
  std::optional<Expansion> OfMainGraph() { return OfGraph(model_.proto().graph(), 0); }

 private:
  using Name = std::pair<std::string, std::string>;
  struct Function {
    const onnx::FunctionProto* proto = nullptr;
    std::optional<Expansion> known;
    bool open = false;
  };

  static Name Key(std::string_view domain, std::string_view name) {
    return {std::string(domain), std::string(name)};
  }

  uint64_t Bytes(const onnx::TensorProto& tensor) const {
    const auto bytes = model_.Bytes(tensor);
    return bytes.ok() ? bytes->size() : 0;
  }

  std::optional<Expansion> OfGraph(const onnx::GraphProto& graph, int depth) {
    auto total = OfNodes(graph.node(), depth);
    if (!total.has_value()) return std::nullopt;
    for (const auto& tensor : graph.initializer()) total->Add({0, Bytes(tensor)});
    return total;
  }

  std::optional<Expansion> OfNodes(const google::protobuf::RepeatedPtrField<onnx::NodeProto>& nodes,
                                   int depth) {
    if (depth > kMaxDepth) return std::nullopt;
    Expansion total;
    for (const onnx::NodeProto& node : nodes) {
      total.Add({1, 0});
      for (const onnx::AttributeProto& attribute : node.attribute()) {
        if (attribute.has_t()) total.Add({0, Bytes(attribute.t())});
        for (const auto& tensor : attribute.tensors()) total.Add({0, Bytes(tensor)});
        std::vector<const onnx::GraphProto*> graphs;
        if (attribute.has_g()) graphs.push_back(&attribute.g());
        for (const auto& graph : attribute.graphs()) graphs.push_back(&graph);
        for (const onnx::GraphProto* graph : graphs) {
          const auto inner = OfGraph(*graph, depth + 1);
          if (!inner.has_value()) return std::nullopt;
          total.Add(*inner);
        }
      }
      const auto called = functions_.find(Key(node.domain(), node.op_type()));
      if (called == functions_.end()) continue;
      Function& function = called->second;
      if (!function.known.has_value()) {
        if (function.open) return std::nullopt;
        function.open = true;
        function.known = OfNodes(function.proto->node(), depth + 1);
        function.open = false;
        if (!function.known.has_value()) return std::nullopt;
      }
      total.Add(*function.known);
    }
    return total;
  }

  const Model& model_;
  absl::flat_hash_map<Name, Function> functions_;
};

uint64_t AllBytes(const Model& model) {
  uint64_t total = 0;
  ForEachTensor(model.proto(), [&](const onnx::TensorProto& tensor) {
    if (const auto bytes = model.Bytes(tensor); bytes.ok()) total += bytes->size();
  });
  return total;
}

}  // namespace

void InlineFunctions(Model& model, google::protobuf::RepeatedPtrField<std::string>* notes) {
  const int before = model.proto().functions_size();
  if (before == 0) return;
  const auto expansion = Measure(model).OfMainGraph();
  if (!expansion.has_value() || expansion->nodes > kMaxNodes ||
      expansion->bytes > AllBytes(model) + kCopiedBytes) {
    return;
  }
  onnx::ModelProto inlined = model.proto();
  try {
    onnx::inliner::InlineLocalFunctions(inlined);
  } catch (const std::exception&) {
    return;  // weights in functions are skipped with their reason
  }
  if (inlined.functions_size() == before) return;
  *notes->Add() = FormatString("{} of {} model-local functions were inlined",
                               before - inlined.functions_size(), before);
  model.mutable_proto() = std::move(inlined);
}

}  // namespace modelpress
