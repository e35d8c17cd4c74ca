// Kinds of operators as their layouts are looked at, and questions about nodes that the table (layout_rules.cc) and the
// rewriting of nodes (layout_apply.cc) both ask.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/rewrite/layout_rules.h"

namespace modelpress {

enum class Family {
  kNone,
  kElementwise,    // any number of inputs with broadcasting
  kFirstInput,     // elementwise in input 0, the others are scalars
  kQuantize,       // QuantizeLinear, DequantizeLinear
  kAxisAttribute,  // an axis in attribute "axis", every input and output tied
  kAxisFirst,      // the same with only input 0 tied
  kReduce,         // axes in input 1
  kArg,            // one axis in an attribute, keepdims
  kPad,
  kSlice,
  kTile,
  kExpand,
  kResize,
  kCumSum,
  kGather,
  kShape,
  kReshape,
  kSqueeze,
  kUnsqueeze,
};

// kNone for operators that need their inputs as they are.
Family FamilyOf(const std::string& op);

inline int64_t NonNegative(int64_t axis, int64_t rank) { return axis < 0 ? axis + rank : axis; }

// The axes in a constant input, not negative; nullopt if it is none or one is out of range.
std::optional<std::vector<int64_t>> AxesInput(const onnx::NodeProto& node, const LayoutView& view,
                                              int input, int64_t rank);

// The axes that are not in `gone` come in their old order when they are read in the order of `perm`.
bool KeepsOrder(const Permutation& perm, const std::vector<int64_t>& gone);

// Axes of extent 1: they can stand anywhere.
std::vector<int64_t> Singletons(const ValueShape& shape);

struct Reshaped {
  const ValueShape *from = nullptr, *to = nullptr;
  std::vector<int64_t> target;
};

// A Reshape to a constant shape without zeros; nullopt for others.
std::optional<Reshaped> ReadReshape(const onnx::NodeProto& node, const LayoutView& view);

// [n, s..., c] to [n, t..., c]: only spatial axes are split or joined, so channels-first goes through.
bool KeepsEnds(const ValueShape& from, const ValueShape& to, const std::vector<int64_t>& target);

// [n, s..., c] to [n, s * ... * c] for dense layers only, whose weights can follow another order.
bool FlattensIntoDense(const onnx::NodeProto& node, const LayoutView& view,
                       const Reshaped& reshape);

inline bool KeepsDims(const onnx::NodeProto& node) {
  return IntAttribute(node, "keepdims", 1) != 0;
}

// Attribute "axis" without a default that depends on the operator's version: readers write it.
int64_t AxisAttribute(const onnx::NodeProto& node, int64_t rank);

}  // namespace modelpress
