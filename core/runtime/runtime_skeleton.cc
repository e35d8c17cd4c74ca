// Skeleton bytes for the runtime: see runtime_skeleton.h.
#include "core/runtime/runtime_skeleton.h"

#include <algorithm>
#include <utility>

#include "core/base/status.h"
#include "core/model/graph.h"
#include "core/runtime/locales.h"
#include "core/runtime/observe_operator.h"
#include "core/runtime/resize_axes.h"

namespace modelpress {
namespace {

void SetEntry(onnx::TensorProto& tensor, const char* key, std::string value) {
  auto* entry = tensor.add_external_data();
  entry->set_key(key);
  entry->set_value(std::move(value));
}

onnx::NodeProto MakeObserve(const std::string& value, const std::string& output, size_t tap) {
  onnx::NodeProto node;
  node.set_domain(std::string(kObserveDomain));
  node.set_op_type(std::string(kObserveType));
  node.set_name("modelpress_tap_" + std::to_string(tap));
  node.add_input(value);
  node.add_output(output);
  onnx::AttributeProto& attribute = *node.add_attribute();
  attribute.set_name(std::string(kTapAttribute));
  attribute.set_type(onnx::AttributeProto::INT);
  attribute.set_i(static_cast<int64_t>(tap));
  return node;
}

// Puts the operator between the maker of the value and everyone who reads it, so that it runs before them and the
// value can go after them. Inputs live for the whole run, so that theirs stands aside. False if the graph does not
// define the value.
bool PlaceTap(onnx::GraphProto& graph, const std::string& name, size_t tap) {
  const std::string other = "modelpress_tapped_" + std::to_string(tap);
  for (int i = 0; i < graph.node_size(); ++i) {
    const auto output = std::ranges::find(*graph.mutable_node(i)->mutable_output(), name);
    if (output == graph.mutable_node(i)->mutable_output()->end()) continue;
    *output = other;
    std::vector<onnx::NodeProto> nodes = {MakeObserve(other, name, tap)};
    InsertBefore(graph, i + 1, std::move(nodes));
    return true;
  }
  const auto named = [&](const auto& value) { return value.name() == name; };
  if (std::ranges::none_of(graph.input(), named)) return false;
  std::vector<onnx::NodeProto> nodes = {MakeObserve(name, other, tap)};
  InsertBefore(graph, 0, std::move(nodes));
  return true;
}

absl::Status AddTaps(onnx::ModelProto& proto, const std::vector<ValueKey>& taps) {
  if (taps.empty()) return absl::OkStatus();
  size_t placed = 0;
  ForEachNamedGraph(proto, [&](onnx::GraphProto& graph, const std::string& path) {
    for (size_t i = 0; i < taps.size(); ++i) {
      if (taps[i].graph != path) continue;
      if (PlaceTap(graph, taps[i].value, i)) ++placed;
    }
  });
  if (placed < taps.size()) {
    return Error(ERROR_REASON_DATA_INVALID, "a tap is on a value that its graph does not define");
  }
  auto* import = proto.add_opset_import();
  import->set_domain(std::string(kObserveDomain));
  import->set_version(1);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> RuntimeSkeleton(const Model& model, const std::vector<ValueKey>& taps) {
  onnx::ModelProto proto = model.proto();
  UseInstalledLocales(proto);
  MP_RETURN_IF_ERROR(CountResizeAxesFromTheBeginning(proto));
  MP_RETURN_IF_ERROR(AddTaps(proto, taps));
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
