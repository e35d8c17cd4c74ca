// Taking newer nodes back: attributes and inputs that moved, or came later and say what went without saying before.
#include <algorithm>

#include "core/quant/opset_lowering_rules.h"

namespace modelpress {
namespace {

// Reductions, 18: axes are an input. Before: an attribute; none at all reduces everything.
bool AxesToAttribute(Lowering& l, const onnx::NodeProto& node, LoweredNodes* made) {
  std::vector<int64_t> axes;
  if (HasInput(node, 1)) {
    const auto values = l.Integers(node, 1);
    if (!values.has_value()) return false;
    axes = *values;
  }
  const bool noop = IntAttribute(node, "noop_with_empty_axes", 0) != 0;
  if (axes.empty() && noop) {
    l.Append(made, node, "Identity", {node.input(0)}, /*last=*/true);
    return true;
  }
  onnx::NodeProto& lower = made->emplace_back(node);
  lower.mutable_input()->DeleteSubrange(1, lower.input_size() - 1);
  RemoveAttribute(lower, "noop_with_empty_axes");
  if (!axes.empty()) SetInts(lower, "axes", axes);
  return true;
}

// Split, 18: num_outputs, whose last part may be smaller. Before: equal parts, or their sizes.
bool SplitBySizes(Lowering& l, const onnx::NodeProto& node, LoweredNodes* made) {
  if (FindAttribute(node, "num_outputs") == nullptr) return false;
  onnx::NodeProto& lower = made->emplace_back(node);
  RemoveAttribute(lower, "num_outputs");
  const auto shape = l.Shape(node.input(0));
  if (!shape.has_value()) return true;
  const int64_t rank = static_cast<int64_t>(shape->size()), parts = node.output_size();
  int64_t axis = IntAttribute(node, "axis", 0);
  if (axis < 0) axis += rank;
  if (axis < 0 || axis >= rank || parts < 1) return true;
  const int64_t extent = (*shape)[static_cast<size_t>(axis)];
  if (extent < 0 || extent % parts == 0) return true;
  const int64_t size = (extent + parts - 1) / parts;
  std::vector<int64_t> sizes(static_cast<size_t>(parts), size);
  sizes.back() = extent - size * (parts - 1);
  lower.add_input(l.Int64s(sizes));
  return true;
}

// Pad, 18: pads of some axes. Before: of all.
bool PadAllAxes(Lowering& l, const onnx::NodeProto& node, LoweredNodes* made) {
  if (!HasInput(node, 3)) return false;
  const auto shape = l.Shape(node.input(0));
  const auto axes = l.Integers(node, 3), pads = l.Integers(node, 1);
  if (!shape.has_value() || !axes.has_value() || !pads.has_value() ||
      pads->size() != 2 * axes->size())
    return false;
  const int64_t rank = static_cast<int64_t>(shape->size());
  std::vector<int64_t> all(2 * shape->size(), 0);
  for (size_t i = 0; i < axes->size(); ++i) {
    const int64_t axis = (*axes)[i] < 0 ? (*axes)[i] + rank : (*axes)[i];
    if (axis < 0 || axis >= rank) return false;
    all[static_cast<size_t>(axis)] = (*pads)[i];
    all[static_cast<size_t>(rank + axis)] = (*pads)[axes->size() + i];
  }
  onnx::NodeProto& lower = made->emplace_back(node);
  lower.mutable_input()->DeleteSubrange(3, lower.input_size() - 3);
  lower.set_input(1, l.Int64s(all));
  TrimInputs(lower);
  return true;
}

// Resize, 18: sizes or scales of some axes. Before: of all.
bool ResizeAllAxes(Lowering& l, const onnx::NodeProto& node, LoweredNodes* made) {
  const onnx::AttributeProto* policy = FindAttribute(node, "keep_aspect_ratio_policy");
  if (IntAttribute(node, "antialias", 0) != 0 || (policy != nullptr && policy->s() != "stretch"))
    return false;
  onnx::NodeProto lower = node;
  for (const char* name : {"antialias", "keep_aspect_ratio_policy", "axes"})
    RemoveAttribute(lower, name);
  if (const onnx::AttributeProto* listed = FindAttribute(node, "axes"); listed != nullptr) {
    if (HasInput(node, 1)) return false;
    const std::string axes = l.Int64s({listed->ints().begin(), listed->ints().end()});
    const auto shape = l.Shape(node.input(0));
    if (HasInput(node, 3)) {
      std::string all;
      const auto sizes = l.Integers(node, 3);
      if (shape.has_value() && sizes.has_value() &&
          static_cast<int>(sizes->size()) == listed->ints_size()) {
        std::vector<int64_t> extents = *shape;
        const int64_t rank = static_cast<int64_t>(extents.size());
        for (size_t i = 0; i < sizes->size(); ++i) {
          const int64_t written = listed->ints(static_cast<int>(i)),
                        axis = written < 0 ? written + rank : written;
          if (axis < 0 || axis >= rank) return false;
          extents[static_cast<size_t>(axis)] = (*sizes)[i];
        }
        if (!std::ranges::contains(extents, -1)) all = l.Int64s(extents);
      }
      if (all.empty()) {
        const std::string own = l.Append(made, node, "Shape", {node.input(0)});
        all = l.Append(made, node, "ScatterElements", {own, axes, node.input(3)});
      }
      lower.set_input(3, all);
    } else if (HasInput(node, 2)) {
      if (!shape.has_value()) return false;
      lower.set_input(2,
                      l.Append(made, node, "ScatterElements",
                               {l.Ones(static_cast<int64_t>(shape->size())), axes, node.input(2)}));
    }
  }
  made->push_back(std::move(lower));
  return true;
}

// An attribute that came later, where it says what went without saying before.
bool DropReductionNone(Lowering&, const onnx::NodeProto& node, LoweredNodes* made) {
  const onnx::AttributeProto* reduction = FindAttribute(node, "reduction");
  if (reduction == nullptr || reduction->s() != "none") return false;
  RemoveAttribute(made->emplace_back(node), "reduction");
  return true;
}

bool DropOnes(Lowering&, const onnx::NodeProto& node, LoweredNodes* made) {
  const onnx::AttributeProto* dilations = FindAttribute(node, "dilations");
  if (dilations == nullptr ||
      std::ranges::any_of(dilations->ints(), [](int64_t step) { return step != 1; }))
    return false;
  RemoveAttribute(made->emplace_back(node), "dilations");
  return true;
}

// Reshape, 14: allowzero. Without zeros in the shape it says nothing.
bool DropAllowZero(Lowering& l, const onnx::NodeProto& node, LoweredNodes* made) {
  if (FindAttribute(node, "allowzero") == nullptr) return false;
  const auto shape = l.Integers(node, 1);
  if (IntAttribute(node, "allowzero", 0) != 0 &&
      (!shape.has_value() || std::ranges::contains(*shape, 0)))
    return false;
  RemoveAttribute(made->emplace_back(node), "allowzero");
  return true;
}

bool DropTrainingMode(Lowering&, const onnx::NodeProto& node, LoweredNodes* made) {
  if (FindAttribute(node, "training_mode") == nullptr ||
      IntAttribute(node, "training_mode", 0) != 0)
    return false;
  RemoveAttribute(made->emplace_back(node), "training_mode");
  return true;
}

// Shape, 15: a part of the extents.
bool ShapeThenSlice(Lowering& l, const onnx::NodeProto& node, LoweredNodes* made) {
  const bool has_end = FindAttribute(node, "end") != nullptr;
  const int64_t start = IntAttribute(node, "start", 0), end = IntAttribute(node, "end", 0);
  if (start == 0 && !has_end) return false;
  const std::string all = l.Append(made, node, "Shape", {node.input(0)});
  l.Append(made, node, "Slice",
           {all, l.Int64s({start}), l.Int64s({has_end ? end : INT64_MAX}), l.Int64s({0})},
           /*last=*/true);
  return true;
}

// DFT, 20: the axis is an input. Before: an attribute.
bool DftAxisToAttribute(Lowering& l, const onnx::NodeProto& node, LoweredNodes* made) {
  if (l.target() < 17) return false;
  int64_t axis = -2;
  if (HasInput(node, 2)) {
    const auto values = l.Integers(node, 2);
    if (!values.has_value() || values->size() != 1) return false;
    axis = (*values)[0];
  }
  if (axis < 0) {
    const auto shape = l.Shape(node.input(0));
    if (!shape.has_value()) return false;
    axis += static_cast<int64_t>(shape->size());
  }
  onnx::NodeProto& lower = made->emplace_back(node);
  if (lower.input_size() > 2) lower.mutable_input()->DeleteSubrange(2, lower.input_size() - 2);
  TrimInputs(lower);
  SetInt(lower, "axis", axis);
  return true;
}

// GridSample, 20: other names of the modes, and volumes.
bool OldSampleNames(Lowering& l, const onnx::NodeProto& node, LoweredNodes* made) {
  const auto shape = l.Shape(node.input(0));
  const onnx::AttributeProto* mode = FindAttribute(node, "mode");
  const std::string name = mode == nullptr ? "linear" : mode->s();
  if (!shape.has_value() || shape->size() != 4 || (name != "linear" && name != "cubic"))
    return false;
  onnx::NodeProto& lower = made->emplace_back(node);
  RemoveAttribute(lower, "mode");
  onnx::AttributeProto* old_mode = lower.add_attribute();
  old_mode->set_name("mode");
  old_mode->set_type(onnx::AttributeProto::STRING);
  old_mode->set_s("bi" + name);
  return true;
}

constexpr LoweringRule kRules[] = {
    {"ReduceL1", 18, AxesToAttribute},
    {"ReduceL2", 18, AxesToAttribute},
    {"ReduceLogSum", 18, AxesToAttribute},
    {"ReduceLogSumExp", 18, AxesToAttribute},
    {"ReduceMax", 18, AxesToAttribute},
    {"ReduceMean", 18, AxesToAttribute},
    {"ReduceMin", 18, AxesToAttribute},
    {"ReduceProd", 18, AxesToAttribute},
    {"ReduceSumSquare", 18, AxesToAttribute},
    {"Split", 18, SplitBySizes},
    {"Pad", 18, PadAllAxes},
    {"Resize", 18, ResizeAllAxes},
    {"ScatterND", 16, DropReductionNone},
    {"ScatterElements", 16, DropReductionNone},
    {"AveragePool", 19, DropOnes},
    {"Reshape", 14, DropAllowZero},
    {"BatchNormalization", 14, DropTrainingMode},
    {"Shape", 15, ShapeThenSlice},
    {"DFT", 20, DftAxisToAttribute},
    {"GridSample", 20, OldSampleNames},
};

}  // namespace

std::span<const LoweringRule> InputRules() { return kRules; }

}  // namespace modelpress
