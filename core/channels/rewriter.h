// What the rules need to put a node right after positions were removed.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "core/channels/channel_axes.h"

namespace modelpress {

// Positions that stay, ascending, for each axis that loses some.
using KeptPositions = std::map<std::pair<std::string, int>, std::vector<uint32_t>>;

// Not thread-safe.
class ChannelRewriter {
 public:
  ChannelRewriter(Model& model, const ValueShapes& shapes, const KeptPositions& kept)
      : model_(model),
        index_(model.mutable_proto()),
        shapes_(shapes),
        kept_(kept),
        names_(model.proto()) {}

  // Null if the axis stays whole.
  const std::vector<uint32_t>* Kept(const std::string& value, int axis) const;
  bool IsCut(const std::string& value) const;
  // Before; null if not known.
  const std::vector<int64_t>* Shape(const std::string& value) const { return shapes_.Find(value); }
  // Extent afterwards, -1 if not known.
  int64_t Extent(const std::string& value, int axis) const;
  std::optional<std::vector<int64_t>> Integers(const std::string& value) const;
  int64_t opset() const { return model_.opset(); }

  // Makes input `input` of the node a new constant of these integers, of rank 1 and of the type of
  // `like`'s constant (int64 where that is none).
  absl::Status SetIntegers(onnx::NodeProto& node, int input, const std::vector<int64_t>& values,
                           const std::string& like = "");
  // The constant input `input` lists extents of `value`: those that changed are put right.
  absl::Status PatchExtents(onnx::NodeProto& node, int input, const std::string& value);

  // Puts the new constants into the graph; afterwards this is of no more use.
  void AddConstants();

 private:
  Model& model_;
  GraphIndex index_;
  const ValueShapes& shapes_;
  const KeptPositions& kept_;
  UniqueNames names_;
  // New constants are added to the graph at the end, as `index_` points into it.
  std::vector<onnx::TensorProto> constants_;
};

}  // namespace modelpress
