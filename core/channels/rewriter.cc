// Extents and constants after a removal; see rewriter.h.
#include "core/channels/rewriter.h"

#include <span>

#include "core/base/status.h"
#include "core/model/integers.h"

namespace modelpress {

const std::vector<uint32_t>* ChannelRewriter::Kept(const std::string& value, int axis) const {
  const auto found = kept_.find({value, axis});
  return found == kept_.end() ? nullptr : &found->second;
}

bool ChannelRewriter::IsCut(const std::string& value) const {
  const auto found = kept_.lower_bound({value, 0});
  return found != kept_.end() && found->first.first == value;
}

int64_t ChannelRewriter::Extent(const std::string& value, int axis) const {
  if (const auto* kept = Kept(value, axis)) return static_cast<int64_t>(kept->size());
  const std::vector<int64_t>* dims = shapes_.Find(value);
  if (dims == nullptr || axis < 0 || static_cast<size_t>(axis) >= dims->size()) return -1;
  return (*dims)[axis];
}

std::optional<std::vector<int64_t>> ChannelRewriter::Integers(const std::string& value) const {
  const onnx::TensorProto* tensor = index_.Constant(model_.proto().graph(), value);
  return tensor == nullptr ? std::nullopt : ReadIntegers(model_, *tensor);
}

absl::Status ChannelRewriter::SetIntegers(onnx::NodeProto& node, int input,
                                          const std::vector<int64_t>& values,
                                          const std::string& like) {
  const onnx::TensorProto* old =
      like.empty() ? nullptr : index_.Constant(model_.proto().graph(), like);
  onnx::TensorProto& tensor = constants_.emplace_back();
  tensor.set_name(names_.Make(node.output(0) + "_cut"));
  const std::vector<int64_t> dims = {static_cast<int64_t>(values.size())};
  if (old != nullptr && Type(*old) == DataType::kInt32) {
    const std::vector<int32_t> narrow(values.begin(), values.end());
    MP_RETURN_IF_ERROR(
        model_.SetInline(&tensor, DataType::kInt32, dims, std::as_bytes(std::span(narrow))));
  } else {
    MP_RETURN_IF_ERROR(
        model_.SetInline(&tensor, DataType::kInt64, dims, std::as_bytes(std::span(values))));
  }
  while (node.input_size() <= input) node.add_input("");
  node.set_input(input, tensor.name());
  return absl::OkStatus();
}

absl::Status ChannelRewriter::PatchExtents(onnx::NodeProto& node, int input,
                                           const std::string& value) {
  const std::vector<int64_t>* dims = shapes_.Find(value);
  auto extents = input < node.input_size() ? Integers(node.input(input)) : std::nullopt;
  if (dims == nullptr || !extents.has_value() || extents->size() != dims->size() || !IsCut(value)) {
    return absl::OkStatus();
  }
  bool changed = false;
  for (size_t axis = 0; axis < dims->size(); ++axis) {
    if ((*extents)[axis] != (*dims)[axis] || Kept(value, static_cast<int>(axis)) == nullptr)
      continue;
    (*extents)[axis] = Extent(value, static_cast<int>(axis));
    changed = true;
  }
  return changed ? SetIntegers(node, input, *extents, node.input(input)) : absl::OkStatus();
}

void ChannelRewriter::AddConstants() {
  for (onnx::TensorProto& tensor : constants_) {
    *model_.mutable_proto().mutable_graph()->add_initializer() = std::move(tensor);
  }
  constants_.clear();
}

}  // namespace modelpress
