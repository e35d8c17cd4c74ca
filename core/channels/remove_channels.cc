// Cutting constants and putting shapes right; see remove_channels.h.
#include "core/channels/remove_channels.h"

#include <cstring>
#include <optional>

#include "core/base/status.h"
#include "core/channels/rules.h"

namespace modelpress {
namespace {

// Copies what is kept on each axis, a block that lies together at once. `kept[axis]` null:
// everything.
class Cutter {
 public:
  Cutter(std::span<const std::byte> from, std::span<std::byte> to, std::vector<int64_t> dims,
         std::vector<const std::vector<uint32_t>*> kept, size_t element)
      : from_(from.data()), to_(to.data()), dims_(std::move(dims)), kept_(std::move(kept)) {
    size_t stride = element;
    strides_.resize(dims_.size());
    last_ = 0;
    for (size_t axis = dims_.size(); axis-- > 0;) {
      strides_[axis] = stride;
      stride *= static_cast<size_t>(dims_[axis]);
      if (kept_[axis] != nullptr) last_ = std::max(last_, axis);
    }
  }

  void Run() { Copy(0, from_); }

 private:
  // Axes behind the last one that is cut lie together.
  void Copy(size_t axis, const std::byte* from) {
    const size_t stride = strides_[axis];
    const auto one = [&](size_t i) {
      if (axis == last_) {
        std::memcpy(to_, from + i * stride, stride);
        to_ += stride;
      } else {
        Copy(axis + 1, from + i * stride);
      }
    };
    if (kept_[axis] != nullptr) {
      for (const uint32_t i : *kept_[axis]) one(i);
    } else {
      for (size_t i = 0; i < static_cast<size_t>(dims_[axis]); ++i) one(i);
    }
  }

  const std::byte* from_;
  std::byte* to_;
  std::vector<int64_t> dims_;
  std::vector<const std::vector<uint32_t>*> kept_;
  std::vector<size_t> strides_;
  size_t last_ = 0;
};

absl::Status Cut(Model& model, onnx::TensorProto* tensor, const std::string& name,
                 const ChannelRewriter& rewriter, WeightArena& arena) {
  const std::vector<int64_t> dims(tensor->dims().begin(), tensor->dims().end());
  std::vector<int64_t> cut = dims;
  std::vector<const std::vector<uint32_t>*> kept(dims.size());
  uint64_t bytes = static_cast<uint64_t>(BitsPerElement(Type(*tensor)) / 8);
  const size_t element = bytes;
  for (size_t axis = 0; axis < dims.size(); ++axis) {
    kept[axis] = rewriter.Kept(name, static_cast<int>(axis));
    if (kept[axis] != nullptr) cut[axis] = static_cast<int64_t>(kept[axis]->size());
    bytes *= static_cast<uint64_t>(cut[axis]);
  }
  MP_ASSIGN_OR_RETURN(const auto values, model.Bytes(*tensor));
  const DataType type = Type(*tensor);
  MP_ASSIGN_OR_RETURN(WeightArena::Room room, arena.Allocate(bytes));
  Cutter(values, room.bytes, dims, std::move(kept), element).Run();
  return model.SetBytes(tensor, type, cut, std::move(room.weight));
}

void SetShape(onnx::ValueInfoProto& value, const ChannelRewriter& rewriter) {
  if (!value.type().has_tensor_type() || !value.type().tensor_type().has_shape()) return;
  auto& shape = *value.mutable_type()->mutable_tensor_type()->mutable_shape();
  for (int axis = 0; axis < shape.dim_size(); ++axis) {
    if (const auto* kept = rewriter.Kept(value.name(), axis)) {
      shape.mutable_dim(axis)->set_dim_value(static_cast<int64_t>(kept->size()));
    }
  }
}

}  // namespace

absl::Status RemoveChannels(Model& model, const ValueShapes& shapes, const KeptPositions& kept,
                            WeightArena& arena, const JobContext& context) {
  onnx::GraphProto& graph = *model.mutable_proto().mutable_graph();
  ChannelRewriter rewriter(model, shapes, kept);
  // Nodes first: what they read of constants is as it was.
  for (onnx::NodeProto& node : *graph.mutable_node()) {
    MP_RETURN_IF_ERROR(context.cancellation->Check());
    const OperatorRule* rule = FindRule(node);
    if (rule != nullptr && rule->rewrite != nullptr) {
      MP_RETURN_IF_ERROR(rule->rewrite(rewriter, node));
    }
  }
  const auto cut = [&](onnx::TensorProto* tensor, const std::string& name) -> absl::Status {
    if (tensor == nullptr || !rewriter.IsCut(name)) return absl::OkStatus();
    MP_RETURN_IF_ERROR(context.cancellation->Check());
    return Cut(model, tensor, name, rewriter, arena);
  };
  for (onnx::TensorProto& tensor : *graph.mutable_initializer()) {
    MP_RETURN_IF_ERROR(cut(&tensor, tensor.name()));
  }
  for (onnx::NodeProto& node : *graph.mutable_node()) {
    if (!IsConstantNode(node) || node.output_size() != 1) continue;
    for (onnx::AttributeProto& attribute : *node.mutable_attribute()) {
      if (attribute.name() != "value" || !attribute.has_t()) continue;
      MP_RETURN_IF_ERROR(cut(attribute.mutable_t(), node.output(0)));
    }
  }
  for (onnx::ValueInfoProto& value : *graph.mutable_value_info()) SetShape(value, rewriter);
  rewriter.AddConstants();
  RemoveDead(model.mutable_proto());
  return absl::OkStatus();
}

}  // namespace modelpress
