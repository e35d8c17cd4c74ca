// The shapes of all values of a model, as far as shape inference finds them.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "core/model/graph.h"
#include "core/model/model.h"

namespace modelpress {

struct ValueShape {
  DataType type = DataType::kUndefined;
  std::vector<int64_t> dims;  // -1: not known

  int64_t rank() const { return static_cast<int64_t>(dims.size()); }
  bool is_static() const;
  // Elements, unknown extents counted as `unknown`.
  double elements(double unknown) const;
};

// Shapes of one graph's own values by name; values of unknown rank are absent. Constants are included.
using GraphShapes = absl::flat_hash_map<std::string, ValueShape>;

// Runs libonnx's shape inference over the skeleton; where it fails, what it found so far counts. Graphs by address: valid
// until nodes are added. Not thread-safe.
absl::flat_hash_map<const onnx::GraphProto*, GraphShapes> InferValueShapes(onnx::ModelProto& model);

}  // namespace modelpress
