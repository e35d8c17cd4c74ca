// Skeleton bytes for the runtime: see runtime_skeleton.h.
#include "core/runtime/runtime_skeleton.h"

#include <algorithm>
#include <format>

#include "core/base/status.h"
#include "core/model/graph.h"

namespace modelpress {
namespace {

void SetEntry(onnx::TensorProto& tensor, const char* key, std::string value) {
  auto* entry = tensor.add_external_data();
  entry->set_key(key);
  entry->set_value(std::move(value));
}

absl::Status AddOutput(onnx::GraphProto& graph, const std::string& name) {
  const bool is_output = std::ranges::any_of(
      graph.output(), [&](const auto& output) { return output.name() == name; });
  if (is_output) return absl::OkStatus();
  const bool is_made = std::ranges::any_of(graph.node(), [&](const onnx::NodeProto& node) {
    return std::ranges::contains(node.output(), name);
  });
  if (!is_made) {
    return Error(ERROR_REASON_DATA_INVALID,
                 std::format("no node of the main graph makes the value '{}'", name))
        .Tensor(name);
  }
  auto* output = graph.add_output();
  output->set_name(name);
  output->mutable_type()->mutable_tensor_type()->set_elem_type(onnx::TensorProto::FLOAT);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> RuntimeSkeleton(const Model& model,
                                            const std::vector<std::string>& extra_outputs) {
  onnx::ModelProto proto = model.proto();
  for (const std::string& name : extra_outputs) {
    MP_RETURN_IF_ERROR(AddOutput(*proto.mutable_graph(), name));
  }
  absl::Status status;
  ForEachTensor(proto, [&](const TensorSite& site) {
    onnx::TensorProto& tensor = *site.tensor;
    if (tensor.data_location() != onnx::TensorProto::EXTERNAL) return;
    const WeightRef* weight = model.Weight(tensor);
    if (weight == nullptr) {
      status = Error(ERROR_REASON_INTERNAL_BUG, "a tensor refers to no weight of its model")
                   .Tensor(tensor.name());
      return;
    }
    tensor.clear_external_data();
    SetEntry(tensor, "location", std::to_string(weight->file->descriptor()));
    SetEntry(tensor, "offset", std::to_string(weight->offset));
    SetEntry(tensor, "length", std::to_string(weight->length));
  });
  MP_RETURN_IF_ERROR(status);
  std::string bytes;
  if (!proto.SerializeToString(&bytes)) {
    return Error(ERROR_REASON_MODEL_LIMIT, "the model's skeleton is larger than 2 GiB");
  }
  return bytes;
}

}  // namespace modelpress
