// Nodes and constants that a rewriting of weights adds to a model, put in place at its end.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/model/graph.h"
#include "core/model/model.h"
#include "core/quant/weight_selection.h"

namespace modelpress {

// Pointers into the model stay valid until Finish. Not thread-safe.
class GraphAdditions {
 public:
  GraphAdditions(Model& model, WeightArena& arena)
      : model_(model), arena_(arena), names_(model.proto()) {}

  UniqueNames& names() { return names_; }

  // A node of the default domain with one output; the reference is valid until the next call.
  onnx::NodeProto& AddNode(onnx::GraphProto* graph, std::string_view op,
                           std::initializer_list<std::string_view> inputs, std::string_view output);
  // The name under which float32 values have to be made so that `name` gets them as `type`: another
  // one, with a Cast between, where that is not float32.
  std::string FloatsOf(DataType type, onnx::GraphProto* graph, const std::string& name);
  // A new initializer of `graph`; returns its name, made from `base`. Small ones go inline.
  absl::StatusOr<std::string> AddConstant(onnx::GraphProto* graph, std::string_view base,
                                          DataType type, std::span<const int64_t> dims,
                                          std::span<const std::byte> bytes);
  // The same for bytes that are in the arena already.
  absl::StatusOr<std::string> AddConstant(onnx::GraphProto* graph, std::string_view base,
                                          DataType type, std::span<const int64_t> dims,
                                          const WeightRef& bytes);
  // Puts `codes` in the place of the weight's tensor, under a new name. A Constant node becomes an
  // initializer.
  absl::Status ReplaceTensor(const CandidateWeight& weight, const std::string& name, DataType type,
                             std::span<const int64_t> dims, const WeightRef& codes);
  // Afterwards pointers into the model are invalid.
  absl::Status Finish();

 private:
  Model& model_;
  WeightArena& arena_;
  UniqueNames names_;
  std::vector<std::pair<onnx::GraphProto*, std::vector<onnx::NodeProto>>> added_;
  // Outputs of Constant nodes that have become initializers.
  absl::flat_hash_set<std::string> constants_;
};

void SetAttribute(onnx::NodeProto& node, std::string_view name, int64_t value);

}  // namespace modelpress
