// Which tensors feed shape arithmetic: see ShapeTensors in graph.h.
//
// Shape inference (in libonnx and in the runtime) parses the values of certain inputs, and follows small integer vectors
// through a few operators ("data propagation"). It cannot read external data: it throws, or silently loses the shape.
// The two tables below are those inputs and those operators, from the operators' inference functions in onnx/defs.
// Indices of sparse tensors belong here too: libonnx's checker reads them.
#include <utility>
#include <vector>

#include "core/model/graph.h"

namespace modelpress {
namespace {

// Bit i: input i is read as a shape, a list of axes, a count or a condition.
constexpr uint32_t Inputs(std::initializer_list<int> indices) {
  uint32_t bits = 0;
  for (const int index : indices) bits |= 1u << index;
  return bits;
}

const absl::flat_hash_map<std::string_view, uint32_t>& ShapeInputs() {
  static const auto* const table = new absl::flat_hash_map<std::string_view, uint32_t>{
      {"AffineGrid", Inputs({1})},
      {"BlackmanWindow", Inputs({0})},
      {"CenterCropPad", Inputs({1})},
      {"Col2Im", Inputs({1, 2})},
      {"ConstantOfShape", Inputs({0})},
      {"CumSum", Inputs({1})},
      {"DFT", Inputs({1, 2})},
      {"Dropout", Inputs({1, 2})},
      {"Expand", Inputs({1})},
      {"HammingWindow", Inputs({0})},
      {"HannWindow", Inputs({0})},
      {"If", Inputs({0})},
      {"Loop", Inputs({0, 1})},
      {"MaxUnpool", Inputs({2})},
      {"MelWeightMatrix", Inputs({0, 1, 2, 3, 4})},
      {"NonMaxSuppression", Inputs({2, 3, 4})},
      {"OneHot", Inputs({1})},
      {"Pad", Inputs({1, 3})},
      {"Range", Inputs({0, 1, 2})},
      {"ReduceL1", Inputs({1})},
      {"ReduceL2", Inputs({1})},
      {"ReduceLogSum", Inputs({1})},
      {"ReduceLogSumExp", Inputs({1})},
      {"ReduceMax", Inputs({1})},
      {"ReduceMean", Inputs({1})},
      {"ReduceMin", Inputs({1})},
      {"ReduceProd", Inputs({1})},
      {"ReduceSum", Inputs({1})},
      {"ReduceSumSquare", Inputs({1})},
      {"Reshape", Inputs({1})},
      {"Resize", Inputs({1, 2, 3})},
      {"STFT", Inputs({1, 3})},
      {"SequenceAt", Inputs({1})},
      {"SequenceInsert", Inputs({2})},
      {"Slice", Inputs({1, 2, 3, 4})},
      {"Split", Inputs({1})},
      {"SplitToSequence", Inputs({1})},
      {"Squeeze", Inputs({1})},
      {"Tile", Inputs({1, 2})},
      {"TopK", Inputs({1})},
      {"Trilu", Inputs({1})},
      {"Unsqueeze", Inputs({1})},
      {"Upsample", Inputs({1})},
  };
  return *table;
}

// Operators through which integer vectors are followed.
bool PropagatesData(std::string_view op_type) {
  static const auto* const table = new absl::flat_hash_set<std::string_view>{
      "Abs",   "Add",       "Cast",  "Ceil",    "Concat",   "ConstantOfShape",
      "Div",   "Equal",     "Floor", "Gather",  "Identity", "Max",
      "Min",   "Mod",       "Mul",   "Neg",     "Range",    "Reshape",
      "Shape", "Size",      "Slice", "Squeeze", "Sub",      "Unsqueeze",
      "Where", "ReduceProd"};
  return table->contains(op_type);
}

bool IsIndexVector(const onnx::TensorProto& tensor) {
  const DataType type = Type(tensor);
  return tensor.dims_size() <= 1 && (type == DataType::kInt64 || type == DataType::kInt32);
}

struct Definition {
  const onnx::NodeProto* producer = nullptr;
  const onnx::TensorProto* tensor = nullptr;
};

struct Scope {
  int parent = -1;
  absl::flat_hash_map<std::string_view, Definition> values;
};

class Finder {
 public:
  explicit Finder(const onnx::ModelProto& model) {
    if (model.has_graph()) VisitGraph(model.graph(), -1);
    for (const onnx::FunctionProto& function : model.functions()) {
      const int index = NewScope(-1);
      VisitNodes(function.node(), index);
    }
    Follow();
  }

  absl::flat_hash_set<const onnx::TensorProto*> TakeFound() { return std::move(found_); }

 private:
  int NewScope(int parent) {
    scopes_.emplace_back().parent = parent;
    return static_cast<int>(scopes_.size()) - 1;
  }

  void VisitGraph(const onnx::GraphProto& graph, int parent) {
    const int index = NewScope(parent);
    for (const auto& input : graph.input()) scopes_[index].values[input.name()];
    for (const auto& tensor : graph.initializer()) {
      scopes_[index].values[tensor.name()].tensor = &tensor;
    }
    for (const auto& sparse : graph.sparse_initializer()) found_.insert(&sparse.indices());
    VisitNodes(graph.node(), index);
  }

  template <typename Nodes>
  void VisitNodes(const Nodes& nodes, int index) {
    for (const onnx::NodeProto& node : nodes) {
      for (const std::string& output : node.output()) {
        scopes_[index].values[output].producer = &node;
      }
    }
    for (const onnx::NodeProto& node : nodes) {
      const bool standard = IsDefaultDomain(node.domain());
      if (standard) SeedNode(node, index);
      for (const onnx::AttributeProto& attribute : node.attribute()) {
        // Attribute tensors other than Constant's are parameters of the operator itself (ConstantOfShape's value,
        // tree weights), which nobody can read from outside.
        if (attribute.has_t() && !IsConstantNode(node)) found_.insert(&attribute.t());
        for (const onnx::TensorProto& tensor : attribute.tensors()) found_.insert(&tensor);
        if (attribute.has_sparse_tensor()) found_.insert(&attribute.sparse_tensor().indices());
        for (const auto& sparse : attribute.sparse_tensors()) found_.insert(&sparse.indices());
        if (attribute.has_g()) VisitGraph(attribute.g(), index);
        for (const onnx::GraphProto& graph : attribute.graphs()) VisitGraph(graph, index);
      }
    }
  }

  void SeedNode(const onnx::NodeProto& node, int index) {
    const auto shape_inputs = ShapeInputs().find(node.op_type());
    const uint32_t bits = shape_inputs == ShapeInputs().end() ? 0 : shape_inputs->second;
    const bool propagates = PropagatesData(node.op_type());
    for (int i = 0; i < node.input_size() && i < 32; ++i) {
      if (node.input(i).empty()) continue;
      if ((bits >> i & 1) != 0) {
        pending_.push_back({index, node.input(i), /*any_tensor=*/true});
      } else if (propagates) {
        pending_.push_back({index, node.input(i), /*any_tensor=*/false});
      }
    }
  }

  void Follow() {
    while (!pending_.empty()) {
      const Pending item = pending_.back();
      pending_.pop_back();
      int index = item.scope;
      while (index >= 0 && !scopes_[index].values.contains(item.name)) {
        index = scopes_[index].parent;
      }
      if (index < 0) continue;
      const Definition& definition = scopes_[index].values.find(item.name)->second;
      const onnx::TensorProto* tensor = definition.tensor;
      const onnx::NodeProto* producer = definition.producer;
      if (producer != nullptr && IsConstantNode(*producer)) {
        const onnx::AttributeProto* value = FindAttribute(*producer, "value");
        if (value != nullptr && value->has_t()) tensor = &value->t();
      }
      if (tensor != nullptr) {
        if (item.any_tensor || IsIndexVector(*tensor)) found_.insert(tensor);
        continue;
      }
      // Inputs of the operators on the way were seeded as index vectors already; from a real shape input backwards any
      // small constant takes part (a float scale in Mul, say).
      if (producer == nullptr || !item.any_tensor || !IsDefaultDomain(producer->domain()) ||
          !PropagatesData(producer->op_type()) || !followed_.insert(producer).second) {
        continue;
      }
      for (const std::string& input : producer->input()) {
        if (!input.empty())
          pending_.push_back({index, input, /*any_tensor=*/IsSmall(index, input)});
      }
    }
  }

  // Whether what `name` refers to may itself be part of shape arithmetic: not a large table that is merely gathered
  // from.
  bool IsSmall(int index, std::string_view name) const {
    while (index >= 0) {
      const auto found = scopes_[index].values.find(name);
      if (found == scopes_[index].values.end()) {
        index = scopes_[index].parent;
        continue;
      }
      const onnx::TensorProto* tensor = found->second.tensor;
      return tensor == nullptr || tensor->dims_size() <= 1;
    }
    return true;
  }

  struct Pending {
    int scope;
    std::string_view name;
    bool any_tensor;
  };
  std::vector<Scope> scopes_;
  std::vector<Pending> pending_;
  absl::flat_hash_set<const onnx::NodeProto*> followed_;
  absl::flat_hash_set<const onnx::TensorProto*> found_;
};

}  // namespace

absl::flat_hash_set<const onnx::TensorProto*> ShapeTensors(const onnx::ModelProto& model) {
  return Finder(model).TakeFound();
}

}  // namespace modelpress
