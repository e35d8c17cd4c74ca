// Which positions along the axes of a graph's values can only be removed together.
//
// Every value and constant of the main graph has a position for each index of each of its axes of
// known extent. The rules of the operators (rules.h) join positions: output channel 3 of a Conv is
// row 3 of its weight, element 3 of its bias and position 3 of axis 1 of its output, and so on
// through the graph. What is joined in the end is removed together or not at all. Positions that
// something stands against are kept, with the reason and the node that says so.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "core/model/graph.h"
#include "core/model/model.h"

namespace modelpress {

// Extents by shape inference, negative where they are not known: equal numbers below -1 are equal
// symbols.
struct ValueShapes {
  absl::flat_hash_map<std::string, std::vector<int64_t>> dims;

  // Null if not even the rank is known.
  const std::vector<int64_t>* Find(const std::string& value) const;
};

// Of the main graph's values and constants; none where shape inference fails.
ValueShapes InferShapes(const Model& model, const GraphIndex& index);

struct AxisRef {
  std::string value;
  int axis = 0;
};

// A multiplication of the main graph.
struct ChannelLayer {
  std::string node, op;
  // Its first output, by which it is found again.
  std::string output;
  // What is multiplied, and the axis of it that is summed over.
  std::string value;
  int value_axis = -1;
  // The constant it multiplies with and the axes of its output and input channels; empty for the
  // product of two values. A grouped convolution has neither axis: its groups are removed whole.
  std::string weight;
  int output_axis = -1, input_axis = -1;
  // The multiply-accumulates of one inference: `factor` times these extents.
  double factor = 1;
  std::vector<AxisRef> extents;
};

// Not thread-safe. Pointers into the model, which must not change meanwhile.
class ChannelAxes {
 public:
  // O(nodes); shape inference is run once.
  ChannelAxes(Model& model, const GraphIndex& index);

  // Facts for the rules. An axis is counted from the front.
  int64_t opset() const { return model_.opset(); }
  // Negative if not known.
  int Rank(const std::string& value) const;
  int64_t Extent(const std::string& value, int axis) const;
  const onnx::TensorProto* Constant(const std::string& value) const;
  // The elements of a constant of integers.
  std::optional<std::vector<int64_t>> Integers(const std::string& value) const;
  // The elements of a float32 constant.
  std::optional<std::vector<float>> Floats(const std::string& value) const;
  const GraphIndex& index() const { return index_; }
  const onnx::GraphProto& graph() const { return model_.proto().graph(); }

  // Position i of one axis goes with position i of the other. Where one extent is not known, or
  // they differ, both axes are kept whole. Nothing happens where neither is known.
  void Join(const std::string& a, int axis_a, const std::string& b, int axis_b,
            const onnx::NodeProto& node);
  // All axes of two values of the same rank.
  void JoinAll(const std::string& a, const std::string& b, const onnx::NodeProto& node);
  void JoinPositions(const std::string& a, int axis_a, int64_t i, const std::string& b, int axis_b,
                     int64_t j);
  // Nothing may be removed there. The first reason counts.
  void Keep(const std::string& value, int axis, std::string_view reason,
            const onnx::NodeProto& node);
  void KeepValue(const std::string& value, std::string_view reason, std::string_view node);
  // All inputs and outputs.
  void KeepNode(const onnx::NodeProto& node, std::string_view reason);
  void AddLayer(ChannelLayer layer) { layers_.push_back(std::move(layer)); }
  // Called when every rule has been applied once: for rules that have a choice which axis to keep.
  void Later(std::function<void()> join) { later_.push_back(std::move(join)); }
  // Whether every position of the axis is kept (as far as is known by now).
  bool IsKept(const std::string& value, int axis);

  // The results, for FindDependencyGroups.
  struct Axis {
    AxisRef ref;
    int64_t extent = 0;
    uint32_t first = 0;  // its first position
  };
  struct Reason {
    std::string reason, node;
  };
  void Finish();
  const std::vector<Axis>& axes() const { return axes_; }
  const std::vector<ChannelLayer>& layers() const { return layers_; }
  const ValueShapes& shapes() const { return shapes_; }
  uint32_t Root(uint32_t position);
  size_t positions() const { return parents_.size(); }
  // Null if it may be removed.
  const Reason* ReasonToKeep(uint32_t position);

 private:
  // The number of the axis; -1 if its positions are not followed.
  int Find(const std::string& value, int axis);
  void Unite(uint32_t a, uint32_t b);
  void KeepPosition(uint32_t position, int reason);

  Model& model_;
  const GraphIndex& index_;
  ValueShapes shapes_;
  absl::flat_hash_map<std::string, std::vector<int>> numbers_;
  std::vector<Axis> axes_;
  std::vector<uint32_t> parents_;
  // By root; -1: none.
  std::vector<int> kept_;
  std::vector<Reason> reasons_;
  std::vector<ChannelLayer> layers_;
  std::vector<std::function<void()>> later_;
};

}  // namespace modelpress
