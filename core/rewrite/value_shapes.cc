// Shapes of values: see value_shapes.h.
#include "core/rewrite/value_shapes.h"

#include <algorithm>

#include "onnx/shape_inference/implementation.h"

namespace modelpress {
namespace {

void Add(const onnx::ValueInfoProto& value, GraphShapes* shapes) {
  if (!value.type().has_tensor_type() || !value.type().tensor_type().has_shape()) return;
  ValueShape shape;
  shape.type = static_cast<DataType>(value.type().tensor_type().elem_type());
  for (const auto& dim : value.type().tensor_type().shape().dim()) {
    shape.dims.push_back(dim.has_dim_value() && dim.dim_value() >= 0 ? dim.dim_value() : -1);
  }
  (*shapes)[value.name()] = std::move(shape);
}

}  // namespace

bool ValueShape::is_static() const { return !std::ranges::contains(dims, -1); }

double ValueShape::elements(double unknown) const {
  double count = 1;
  for (const int64_t dim : dims) count *= dim < 0 ? unknown : static_cast<double>(dim);
  return count;
}

absl::flat_hash_map<const onnx::GraphProto*, GraphShapes> InferValueShapes(
    onnx::ModelProto& model) {
  try {
    onnx::shape_inference::InferShapes(
        model, onnx::OpSchemaRegistry::Instance(),
        onnx::ShapeInferenceOptions(/*check_type=*/false, /*strict_mode=*/0,
                                    /*data_prop=*/false));
  } catch (const std::exception&) {  // NOLINT: what is not known is treated as such
  }
  absl::flat_hash_map<const onnx::GraphProto*, GraphShapes> found;
  ForEachGraph(model, [&](onnx::GraphProto& graph, int) {
    GraphShapes& shapes = found[&graph];
    for (const auto& value : graph.value_info()) Add(value, &shapes);
    for (const auto& value : graph.output()) Add(value, &shapes);
    for (const auto& value : graph.input()) Add(value, &shapes);
    for (const auto& tensor : graph.initializer()) {
      shapes[tensor.name()] = {Type(tensor), {tensor.dims().begin(), tensor.dims().end()}};
    }
  });
  return found;
}

}  // namespace modelpress
