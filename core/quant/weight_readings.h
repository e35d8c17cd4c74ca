// Who really reads a constant: the operators behind those that only move values.
//
//   W [512, 128] --> Slice, Slice, Slice --> Concat --> Unsqueeze --> LSTM
//
// Exporters reorder gates, transpose and stack weights in the graph instead of in the file; the
// runtime folds that away at load. W is the LSTM's weight all the same.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "core/model/graph.h"
#include "core/model/model.h"

namespace modelpress {

// A reading by an operator that computes, and where the axes of what it sees come from.
struct Reading {
  Use use;
  // For each axis of the value that is read: the constant's axis it was, or nothing. Not there if
  // an operator in between (Reshape) mixes axes.
  std::optional<std::vector<std::optional<size_t>>> axes;
};

struct Readings {
  std::vector<Reading> readings;
  // The constant, or what its values were moved to, is an output of a graph.
  bool is_output = false;
  // Some operator moves its values.
  bool is_moved = false;
};

// Not thread-safe; pointers are into the model, which must not change meanwhile.
class MovedConstants {
 public:
  // O(nodes).
  MovedConstants(const Model& model, const GraphIndex& index);

  // Readings of the constant `name` of `rank` axes: straight ones, and those behind Identity, Cast,
  // Transpose, Unsqueeze, Squeeze, Slice, Split, Concat, Reshape, Flatten, Expand and Tile where
  // all inputs of these are constants. Where ways with different axes lead to a value, its axes are
  // not there. The constant's own readers come first. O(values that it is moved to and their
  // readers).
  Readings Find(const onnx::GraphProto& graph, const std::string& name, size_t rank) const;

 private:
  using Axes = decltype(Reading::axes);
  using Value = std::pair<const onnx::GraphProto*, std::string>;

  bool IsConstant(const onnx::GraphProto& graph, const std::string& name) const;
  bool Moves(const Use& use) const;
  Axes After(const Use& use, const Axes& axes) const;
  std::optional<std::vector<int64_t>> AxesOf(const Use& use) const;

  const Model& model_;
  const GraphIndex& index_;
  // What movers make from constants alone, by defining graph and name.
  absl::flat_hash_set<Value> moved_;
};

}  // namespace modelpress
