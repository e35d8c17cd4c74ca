// Union-find over positions; see channel_axes.h.
#include "core/channels/channel_axes.h"

#include <cstring>
#include <exception>
#include <utility>

#include "core/base/format_string.h"
#include "core/model/integers.h"
#include "onnx/defs/schema.h"
#include "onnx/shape_inference/implementation.h"

namespace modelpress {
namespace {

// Longer axes are no channels; more positions than this in all are not followed (8 bytes each).
constexpr int64_t kLongestAxis = 1 << 20;
constexpr size_t kMostPositions = size_t{1} << 25;

// Numbers for symbols: -2, -3, ... in the order in which they are met.
class Symbols {
 public:
  std::vector<int64_t> DimsOf(const onnx::TensorShapeProto& shape) {
    std::vector<int64_t> dims;
    for (const auto& dim : shape.dim()) {
      if (dim.has_dim_value()) {
        dims.push_back(dim.dim_value() < 0 ? -1 : dim.dim_value());
      } else if (dim.dim_param().empty()) {
        dims.push_back(-1);
      } else {
        const auto next = -2 - static_cast<int64_t>(numbers_.size());
        dims.push_back(numbers_.try_emplace(dim.dim_param(), next).first->second);
      }
    }
    return dims;
  }

 private:
  absl::flat_hash_map<std::string, int64_t> numbers_;
};

}  // namespace

const std::vector<int64_t>* ValueShapes::Find(const std::string& value) const {
  const auto found = dims.find(value);
  return found == dims.end() ? nullptr : &found->second;
}

ValueShapes InferShapes(const Model& model, const GraphIndex& index) {
  ValueShapes shapes;
  onnx::ModelProto inferred = model.proto();
  // libonnx gives its result no shape.
  for (onnx::NodeProto& node : *inferred.mutable_graph()->mutable_node()) {
    if (node.op_type() != "GroupNormalization" || !IsDefaultDomain(node.domain())) continue;
    node.set_op_type("Identity");
    node.clear_attribute();
    node.mutable_input()->DeleteSubrange(1, node.input_size() - 1);
  }
  try {
    const onnx::ShapeInferenceOptions options(/*check_type=*/false, /*strict_mode=*/0,
                                              /*data_prop=*/true);
    onnx::shape_inference::InferShapes(inferred, onnx::OpSchemaRegistry::Instance(), options);
  } catch (const std::bad_alloc&) {
    throw;  // not a fact about the model
  } catch (const std::exception&) {
    inferred = model.proto();
  }
  const onnx::GraphProto& graph = inferred.graph();
  Symbols symbols;
  for (const auto* list : {&graph.input(), &graph.output(), &graph.value_info()}) {
    for (const onnx::ValueInfoProto& value : *list) {
      if (!value.type().has_tensor_type() || !value.type().tensor_type().has_shape()) continue;
      shapes.dims.insert_or_assign(value.name(),
                                   symbols.DimsOf(value.type().tensor_type().shape()));
    }
  }
  const auto add_constant = [&](const std::string& name) {
    if (const onnx::TensorProto* tensor = index.Constant(model.proto().graph(), name)) {
      shapes.dims.insert_or_assign(
          name, std::vector<int64_t>(tensor->dims().begin(), tensor->dims().end()));
    }
  };
  for (const auto& tensor : model.proto().graph().initializer()) add_constant(tensor.name());
  for (const auto& node : model.proto().graph().node()) {
    if (IsConstantNode(node) && node.output_size() == 1) add_constant(node.output(0));
  }
  return shapes;
}

ChannelAxes::ChannelAxes(Model& model, const GraphIndex& index)
    : model_(model), index_(index), shapes_(InferShapes(model, index)) {}

int ChannelAxes::Rank(const std::string& value) const {
  const std::vector<int64_t>* dims = shapes_.Find(value);
  return dims == nullptr ? -1 : static_cast<int>(dims->size());
}

int64_t ChannelAxes::Extent(const std::string& value, int axis) const {
  const std::vector<int64_t>* dims = shapes_.Find(value);
  if (dims == nullptr || axis < 0 || static_cast<size_t>(axis) >= dims->size()) return -1;
  return (*dims)[axis];
}

const onnx::TensorProto* ChannelAxes::Constant(const std::string& value) const {
  return value.empty() ? nullptr : index_.Constant(graph(), value);
}

std::optional<std::vector<int64_t>> ChannelAxes::Integers(const std::string& value) const {
  const onnx::TensorProto* tensor = Constant(value);
  return tensor == nullptr ? std::nullopt : ReadIntegers(model_, *tensor);
}

std::optional<std::vector<float>> ChannelAxes::Floats(const std::string& value) const {
  const onnx::TensorProto* tensor = Constant(value);
  if (tensor == nullptr || Type(*tensor) != DataType::kFloat) return std::nullopt;
  const auto bytes = model_.Bytes(*tensor);
  if (!bytes.ok()) return std::nullopt;
  std::vector<float> floats(bytes->size() / sizeof(float));
  std::memcpy(floats.data(), bytes->data(), floats.size() * sizeof(float));
  return floats;
}

int ChannelAxes::Find(const std::string& value, int axis) {
  const std::vector<int64_t>* dims = shapes_.Find(value);
  if (dims == nullptr || axis < 0 || static_cast<size_t>(axis) >= dims->size()) return -1;
  const auto [place, fresh] = numbers_.try_emplace(value);
  if (fresh) {
    for (size_t i = 0; i < dims->size(); ++i) {
      const int64_t extent = (*dims)[i];
      if (extent <= 0 || extent > kLongestAxis ||
          parents_.size() + static_cast<size_t>(extent) > kMostPositions) {
        place->second.push_back(-1);
        continue;
      }
      place->second.push_back(static_cast<int>(axes_.size()));
      axes_.push_back(
          {{value, static_cast<int>(i)}, extent, static_cast<uint32_t>(parents_.size())});
      for (int64_t k = 0; k < extent; ++k)
        parents_.push_back(static_cast<uint32_t>(parents_.size()));
      kept_.resize(parents_.size(), -1);
    }
  }
  return place->second[static_cast<size_t>(axis)];
}

uint32_t ChannelAxes::Root(uint32_t position) {
  while (parents_[position] != position) {
    position = parents_[position] = parents_[parents_[position]];
  }
  return position;
}

void ChannelAxes::Unite(uint32_t a, uint32_t b) {
  a = Root(a);
  b = Root(b);
  if (a == b) return;
  if (b < a) std::swap(a, b);
  parents_[b] = a;
  if (kept_[a] < 0) kept_[a] = kept_[b];
}

void ChannelAxes::KeepPosition(uint32_t position, int reason) {
  int& kept = kept_[Root(position)];
  if (kept < 0) kept = reason;
}

void ChannelAxes::Join(const std::string& a, int axis_a, const std::string& b, int axis_b,
                       const onnx::NodeProto& node) {
  const int x = Find(a, axis_a), y = Find(b, axis_b);
  if (x < 0 || y < 0) {
    const std::string reason = FormatString("the extent of '{}' along axis {} is not known",
                                            x < 0 ? a : b, x < 0 ? axis_a : axis_b);
    Keep(a, axis_a, reason, node);
    Keep(b, axis_b, reason, node);
    return;
  }
  if (axes_[x].extent != axes_[y].extent) {
    const std::string reason = FormatString("'{}' and '{}' have different extents", a, b);
    Keep(a, axis_a, reason, node);
    Keep(b, axis_b, reason, node);
    return;
  }
  for (int64_t i = 0; i < axes_[x].extent; ++i) {
    Unite(axes_[x].first + static_cast<uint32_t>(i), axes_[y].first + static_cast<uint32_t>(i));
  }
}

void ChannelAxes::JoinAll(const std::string& a, const std::string& b, const onnx::NodeProto& node) {
  const int rank = Rank(a);
  if (rank < 0 || rank != Rank(b)) {
    KeepValue(a, "the shape of what is made of it is not known", NodeName(node));
    KeepValue(b, "the shape of what it is made of is not known", NodeName(node));
    return;
  }
  for (int axis = 0; axis < rank; ++axis) Join(a, axis, b, axis, node);
}

void ChannelAxes::JoinPositions(const std::string& a, int axis_a, int64_t i, const std::string& b,
                                int axis_b, int64_t j) {
  const int x = Find(a, axis_a), y = Find(b, axis_b);
  if (x < 0 || y < 0 || i >= axes_[x].extent || j >= axes_[y].extent) return;
  Unite(axes_[x].first + static_cast<uint32_t>(i), axes_[y].first + static_cast<uint32_t>(j));
}

void ChannelAxes::Keep(const std::string& value, int axis, std::string_view reason,
                       const onnx::NodeProto& node) {
  const int x = Find(value, axis);
  if (x < 0) return;
  reasons_.push_back({std::string(reason), NodeName(node)});
  for (int64_t i = 0; i < axes_[x].extent; ++i) {
    KeepPosition(axes_[x].first + static_cast<uint32_t>(i), static_cast<int>(reasons_.size()) - 1);
  }
}

void ChannelAxes::KeepValue(const std::string& value, std::string_view reason,
                            std::string_view node) {
  onnx::NodeProto named;
  named.set_name(std::string(node));
  for (int axis = 0; axis < Rank(value); ++axis) Keep(value, axis, reason, named);
}

void ChannelAxes::KeepNode(const onnx::NodeProto& node, std::string_view reason) {
  for (const auto* list : {&node.input(), &node.output()}) {
    for (const std::string& name : *list) {
      if (!name.empty()) KeepValue(name, reason, NodeName(node));
    }
  }
}

bool ChannelAxes::IsKept(const std::string& value, int axis) {
  const int x = Find(value, axis);
  if (x < 0) return true;
  for (int64_t i = 0; i < axes_[x].extent; ++i) {
    if (kept_[Root(axes_[x].first + static_cast<uint32_t>(i))] < 0) return false;
  }
  return true;
}

void ChannelAxes::Finish() {
  for (const auto& join : later_) join();
  later_.clear();
}

const ChannelAxes::Reason* ChannelAxes::ReasonToKeep(uint32_t position) {
  const int reason = kept_[Root(position)];
  return reason < 0 ? nullptr : &reasons_[reason];
}

}  // namespace modelpress
