// The table of operators: see layout_rules.h.
#include "core/rewrite/layout_rules.h"

#include <algorithm>

#include "core/rewrite/layout_families.h"

namespace modelpress {

bool WeightsAreTransposed(const onnx::NodeProto& dense) {
  return dense.op_type() == "Gemm" && IntAttribute(dense, "transB", 0) != 0;
}

LayoutRule RuleOf(const onnx::NodeProto& node, const LayoutView& view) {
  LayoutRule rule;
  rule.inputs.assign(node.input_size(), Port::kBarrier);
  rule.outputs.assign(node.output_size(), Port::kBarrier);
  const Family family = IsDefaultDomain(node.domain()) ? FamilyOf(node.op_type()) : Family::kNone;
  if (family == Family::kNone || node.input_size() == 0 || node.output_size() == 0) return rule;
  const ValueShape* in = view.Shape(node.input(0));
  const ValueShape* out = view.Shape(node.output(0));
  if (in == nullptr || out == nullptr) return rule;
  const int64_t rank = in->rank();
  const auto tie_first = [&] {
    const bool constant = view.IsConstant(node.input(0));
    // A constant is turned where it lies, for operators that keep its elements apart.
    const bool may_turn = (family == Family::kFirstInput || family == Family::kQuantize) &&
                          BitsPerElement(in->type) >= 8;
    if (constant && !may_turn) return;
    std::ranges::fill(rule.inputs, Port::kIgnored);
    if (constant) {
      std::ranges::fill(rule.outputs, Port::kTied);
      return;
    }
    rule.inputs[0] = Port::kTied;
    std::ranges::fill(rule.outputs, Port::kTied);
  };
  switch (family) {
    case Family::kElementwise: {
      // Inputs of a lower rank are padded and turned at their edge.
      for (int i = 0; i < node.input_size(); ++i) {
        const ValueShape* shape = view.Shape(node.input(i));
        if (shape == nullptr) return rule;
      }
      for (int i = 0; i < node.input_size(); ++i) {
        const bool full = view.Shape(node.input(i))->rank() == out->rank();
        rule.inputs[i] = full && !view.IsConstant(node.input(i)) ? Port::kTied : Port::kIgnored;
      }
      rule.outputs[0] = Port::kTied;
      return rule;
    }
    case Family::kFirstInput:
      tie_first();
      return rule;
    case Family::kQuantize: {
      const ValueShape* scale = node.input_size() > 1 ? view.Shape(node.input(1)) : nullptr;
      if (scale == nullptr || scale->rank() > 1) return rule;
      tie_first();
      return rule;
    }
    case Family::kAxisAttribute:
      for (int i = 0; i < node.input_size(); ++i) {
        const ValueShape* shape = view.Shape(node.input(i));
        if (shape == nullptr || shape->rank() != rank) return rule;
      }
      for (int i = 0; i < node.input_size(); ++i) {
        rule.inputs[i] = view.IsConstant(node.input(i)) ? Port::kIgnored : Port::kTied;
      }
      rule.outputs[0] = Port::kTied;
      return rule;
    case Family::kAxisFirst:
      tie_first();
      return rule;
    case Family::kReduce:
      if (!AxesInput(node, view, 1, rank).has_value()) return rule;
      if (KeepsDims(node)) {
        tie_first();
      } else {
        rule.inputs.assign(node.input_size(), Port::kIgnored);
        rule.inputs[0] = Port::kFree;
      }
      return rule;
    case Family::kArg:
      if (KeepsDims(node)) {
        tie_first();
      } else {
        rule.inputs[0] = Port::kFree;
      }
      return rule;
    case Family::kPad:
      if (node.input_size() < 2 || node.input_size() > 3 || !view.Ints(node.input(1)).has_value())
        return rule;
      if (view.Ints(node.input(1))->size() != 2 * static_cast<size_t>(rank)) return rule;
      tie_first();
      return rule;
    case Family::kSlice:
      if (!AxesInput(node, view, 3, rank).has_value()) return rule;
      tie_first();
      return rule;
    case Family::kTile: {
      const auto repeats = node.input_size() == 2 ? view.Ints(node.input(1)) : std::nullopt;
      if (!repeats.has_value() || repeats->size() != static_cast<size_t>(rank)) return rule;
      tie_first();
      return rule;
    }
    case Family::kExpand: {
      const auto shape = node.input_size() == 2 ? view.Ints(node.input(1)) : std::nullopt;
      if (!shape.has_value() || static_cast<int64_t>(shape->size()) != out->rank()) return rule;
      rule.inputs = {Port::kIgnored, Port::kIgnored};
      if (rank == out->rank() && !view.IsConstant(node.input(0))) rule.inputs[0] = Port::kTied;
      rule.outputs[0] = Port::kTied;
      return rule;
    }
    case Family::kResize:
      if (FindAttribute(node, "axes") == nullptr) return rule;
      tie_first();
      rule.channels_first_only = true;
      return rule;
    case Family::kCumSum:
      if (!AxesInput(node, view, 1, rank).has_value()) return rule;
      tie_first();
      return rule;
    case Family::kGather: {
      const ValueShape* indices = view.Shape(node.input(1));
      if (indices == nullptr || view.IsConstant(node.input(0))) return rule;
      if (indices->rank() == 1) {
        tie_first();
      } else if (indices->rank() == 0) {
        rule.inputs[0] = Port::kFree;
        rule.inputs[1] = Port::kIgnored;
      }
      return rule;
    }
    case Family::kShape:
      if (node.attribute_size() == 0) rule.inputs[0] = Port::kFree;
      return rule;
    case Family::kReshape: {
      const auto reshape = ReadReshape(node, view);
      if (!reshape.has_value()) return rule;
      rule.inputs[1] = Port::kIgnored;
      if (KeepsEnds(*reshape->from, *reshape->to, reshape->target)) {
        rule.inputs[0] = rule.outputs[0] = Port::kTied;
        rule.channels_first_only = true;
        return rule;
      }
      if (!Singletons(*reshape->from).empty() || FlattensIntoDense(node, view, *reshape)) {
        rule.inputs[0] = Port::kFree;
      }
      if (!Singletons(*reshape->to).empty() && reshape->to->rank() > 2)
        rule.outputs[0] = Port::kFree;
      return rule;
    }
    case Family::kSqueeze:
      if (!AxesInput(node, view, 1, rank).has_value()) return rule;
      rule.inputs[1] = Port::kIgnored;
      rule.inputs[0] = Port::kFree;
      return rule;
    case Family::kUnsqueeze:
      if (!AxesInput(node, view, 1, out->rank()).has_value()) return rule;
      rule.inputs[1] = Port::kIgnored;
      rule.outputs[0] = Port::kFree;
      return rule;
    case Family::kNone:
      return rule;
  }
  return rule;
}

bool Accepts(const onnx::NodeProto& node, const LayoutView& view, bool is_input, int port,
             const Permutation& perm) {
  if (IsIdentity(perm)) return true;
  const ValueShape* in = view.Shape(node.input(0));
  switch (FamilyOf(node.op_type())) {
    case Family::kReduce:
      return KeepsDims(node) || KeepsOrder(perm, *AxesInput(node, view, 1, in->rank()));
    case Family::kArg:
      return KeepsDims(node) ||
             KeepsOrder(perm, {NonNegative(IntAttribute(node, "axis", 0), in->rank())});
    case Family::kGather: {
      const ValueShape* indices = view.Shape(node.input(1));
      return indices->rank() == 1 || KeepsOrder(perm, {AxisAttribute(node, in->rank())});
    }
    case Family::kReshape: {
      const auto reshape = ReadReshape(node, view);
      if (KeepsEnds(*reshape->from, *reshape->to, reshape->target)) return IsChannelsFirst(perm);
      if (KeepsOrder(perm, Singletons(is_input ? *reshape->from : *reshape->to))) return true;
      return is_input && perm[0] == 0 && FlattensIntoDense(node, view, *reshape);
    }
    case Family::kSqueeze:
      return KeepsOrder(perm, *AxesInput(node, view, 1, in->rank()));
    case Family::kUnsqueeze:
      return KeepsOrder(perm, *AxesInput(node, view, 1, view.Shape(node.output(port))->rank()));
    case Family::kResize:
      return IsChannelsFirst(perm);
    default:
      return true;
  }
}

}  // namespace modelpress
