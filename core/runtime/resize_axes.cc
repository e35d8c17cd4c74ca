// Axes of Resize: see resize_axes.h.
#include "core/runtime/resize_axes.h"

#include <algorithm>
#include <map>
#include <string>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/model/graph.h"

namespace modelpress {
namespace {

// By the names of values whose shape the graph declares.
std::map<std::string, int> DeclaredRanks(const onnx::GraphProto& graph) {
  std::map<std::string, int> ranks;
  for (const auto* values : {&graph.input(), &graph.value_info(), &graph.output()}) {
    for (const onnx::ValueInfoProto& value : *values) {
      const auto& type = value.type().tensor_type();
      if (type.has_shape()) ranks[value.name()] = type.shape().dim_size();
    }
  }
  for (const onnx::TensorProto& tensor : graph.initializer())
    ranks[tensor.name()] = tensor.dims_size();
  return ranks;
}

absl::Status CountFromTheBeginning(onnx::NodeProto& node, const std::map<std::string, int>& ranks) {
  for (onnx::AttributeProto& attribute : *node.mutable_attribute()) {
    if (attribute.name() != "axes") continue;
    if (std::ranges::none_of(attribute.ints(), [](int64_t axis) { return axis < 0; })) continue;
    const auto rank = node.input().empty() ? ranks.end() : ranks.find(node.input(0));
    const int64_t end = rank == ranks.end() ? 0 : rank->second;
    for (int64_t& axis : *attribute.mutable_ints()) {
      if (axis < 0) axis += end;
      if (axis >= 0) continue;
      return Error(ERROR_REASON_OP_UNSUPPORTED,
                   FormatString("Resize has axis {}, counted from the end{}, which the runtime "
                                "does not understand",
                                axis - end,
                                rank == ranks.end() ? " of an image of unknown rank" : ""))
          .Node(node.name())
          .Op("Resize")
          .Remedy("count axes from the beginning, or declare the shape of the image");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CountResizeAxesFromTheBeginning(onnx::ModelProto& proto) {
  absl::Status status;
  const auto visit = [&](auto& nodes, const std::map<std::string, int>& ranks) {
    for (onnx::NodeProto& node : nodes) {
      if (status.ok() && node.op_type() == "Resize") status = CountFromTheBeginning(node, ranks);
    }
  };
  ForEachGraph(proto, [&](onnx::GraphProto& graph, int) {
    const bool resizes = std::ranges::any_of(
        graph.node(), [](const onnx::NodeProto& node) { return node.op_type() == "Resize"; });
    if (resizes) visit(*graph.mutable_node(), DeclaredRanks(graph));
  });
  for (onnx::FunctionProto& function : *proto.mutable_functions())
    visit(*function.mutable_node(), {});
  return status;
}

}  // namespace modelpress
