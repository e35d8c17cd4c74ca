// The element type of every value of a model, subgraphs included, from the operators' schemas.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "core/model/graph.h"
#include "core/model/model.h"
#include "onnx/defs/schema.h"

namespace modelpress {

// The schema of a node's operator in the model's version of its domain; null if libonnx does not
// know it.
const onnx::OpSchema* SchemaOf(const onnx::ModelProto& model, const onnx::NodeProto& node);
// The formal parameter behind input or output `i` (the last one repeats where it is variadic); null
// if there is none.
const onnx::OpSchema::FormalParameter* FormalInput(const onnx::OpSchema& schema, int i);
const onnx::OpSchema::FormalParameter* FormalOutput(const onnx::OpSchema& schema, int i);

class ValueTypes {
 public:
  // Shapes play no role, so that this works where shape inference fails. O(nodes).
  ValueTypes(onnx::ModelProto& model, const GraphIndex& index);

  // The type of a tensor value as seen from `scope`; kUndefined for other values and where it is
  // not known.
  DataType Find(const onnx::GraphProto& scope, const std::string& name) const;

 private:
  // `given`: types of the graph's inputs where it does not declare them.
  void Walk(onnx::GraphProto& graph, const std::vector<DataType>& given);
  std::vector<DataType> TypesOfInputs(const onnx::GraphProto& graph,
                                      const onnx::NodeProto& node) const;
  DataType OutputType(const onnx::GraphProto& graph, const onnx::NodeProto& node, int i) const;

  const onnx::ModelProto& model_;
  const GraphIndex& index_;
  absl::flat_hash_map<const onnx::GraphProto*, absl::flat_hash_map<std::string, DataType>> types_;
};

}  // namespace modelpress
