// Changing a node for ports in other orders: see layout_rules.h.
#include "core/rewrite/layout_families.h"

namespace modelpress {
namespace {

template <typename Range>
void SetInts(onnx::NodeProto& node, std::string_view name, const Range& values) {
  for (onnx::AttributeProto& attribute : *node.mutable_attribute()) {
    if (attribute.name() != name) continue;
    attribute.clear_ints();
    attribute.mutable_ints()->Add(values.begin(), values.end());
  }
}

void SetInt(onnx::NodeProto& node, std::string_view name, int64_t value) {
  for (onnx::AttributeProto& attribute : *node.mutable_attribute()) {
    if (attribute.name() == name) {
      attribute.set_i(value);
      return;
    }
  }
  onnx::AttributeProto* attribute = node.add_attribute();
  attribute->set_name(std::string(name));
  attribute->set_type(onnx::AttributeProto::INT);
  attribute->set_i(value);
}

std::vector<int64_t> Mapped(const std::vector<int64_t>& axes, const Permutation& perm) {
  const Permutation place = Inverse(perm);
  std::vector<int64_t> mapped;
  for (const int64_t axis : axes) mapped.push_back(place[axis]);
  return mapped;
}

template <typename T>
std::vector<T> Picked(const std::vector<T>& values, const Permutation& perm) {
  std::vector<T> picked;
  for (const int64_t axis : perm) picked.push_back(values[axis]);
  return picked;
}

}  // namespace

void ApplyLayout(onnx::NodeProto& node, const LayoutView& view, const LayoutRule& rule,
                 const std::vector<Permutation>& inputs, const std::vector<Permutation>& outputs,
                 LayoutEdit& edit) {
  const ValueShape* in = view.Shape(node.input(0));
  const Permutation& perm = IsIdentity(outputs[0]) ? inputs[0] : outputs[0];
  if (IsIdentity(perm)) {
    // Elementwise operators may have their order from another input.
    bool any = false;
    for (const Permutation& other : inputs) any |= !IsIdentity(other);
    if (!any) return;
  }
  const auto set_axes = [&](int input, const Permutation& order) {
    const auto axes = AxesInput(node, view, input, static_cast<int64_t>(order.size()));
    node.set_input(input, edit.Ints(Mapped(*axes, order)));
  };
  switch (FamilyOf(node.op_type())) {
    case Family::kElementwise:
      for (int i = 0; i < node.input_size(); ++i) {
        if (rule.inputs[i] == Port::kIgnored)
          node.set_input(i, edit.Broadcast(node.input(i), outputs[0]));
      }
      return;
    case Family::kQuantize: {
      const ValueShape* scale = view.Shape(node.input(1));
      if (rule.inputs[0] == Port::kIgnored) node.set_input(0, edit.Broadcast(node.input(0), perm));
      if (scale->rank() == 1) {
        SetInt(node, "axis", Inverse(perm)[NonNegative(IntAttribute(node, "axis", 1), in->rank())]);
      }
      return;
    }
    case Family::kAxisAttribute:
      for (int i = 0; i < node.input_size(); ++i) {
        if (rule.inputs[i] == Port::kIgnored)
          node.set_input(i, edit.Broadcast(node.input(i), perm));
      }
      SetInt(node, "axis", Inverse(perm)[AxisAttribute(node, in->rank())]);
      return;
    case Family::kAxisFirst:
      SetInt(node, "axis", Inverse(perm)[AxisAttribute(node, in->rank())]);
      return;
    case Family::kReduce:
      set_axes(1, inputs[0]);
      return;
    case Family::kArg:
      SetInt(node, "axis",
             Inverse(inputs[0])[NonNegative(IntAttribute(node, "axis", 0), in->rank())]);
      return;
    case Family::kPad: {
      const std::vector<int64_t> pads = *view.Ints(node.input(1));
      const auto middle = pads.begin() + static_cast<int64_t>(pads.size() / 2);
      std::vector<int64_t> turned = Picked(std::vector<int64_t>(pads.begin(), middle), perm);
      const std::vector<int64_t> ends = Picked(std::vector<int64_t>(middle, pads.end()), perm);
      turned.insert(turned.end(), ends.begin(), ends.end());
      node.set_input(1, edit.Ints(turned));
      return;
    }
    case Family::kSlice: {
      // Of the type that starts and ends have.
      const auto axes = AxesInput(node, view, 3, in->rank());
      node.set_input(3, edit.Ints(Mapped(*axes, perm), view.Shape(node.input(3))->type));
      return;
    }
    case Family::kTile:
      node.set_input(1, edit.Ints(Picked(*view.Ints(node.input(1)), perm)));
      return;
    case Family::kExpand:
      if (rule.inputs[0] == Port::kIgnored) node.set_input(0, edit.Broadcast(node.input(0), perm));
      node.set_input(1, edit.Ints(Picked(*view.Ints(node.input(1)), perm)));
      return;
    case Family::kResize: {
      const onnx::AttributeProto* axes = FindAttribute(node, "axes");
      std::vector<int64_t> written;
      for (const int64_t axis : axes->ints()) written.push_back(NonNegative(axis, in->rank()));
      SetInts(node, "axes", Mapped(written, perm));
      return;
    }
    case Family::kCumSum: {
      const auto axes = AxesInput(node, view, 1, in->rank());
      node.set_input(1, edit.Ints(Mapped(*axes, perm)));
      return;
    }
    case Family::kGather:
      SetInt(node, "axis", Inverse(inputs[0])[AxisAttribute(node, in->rank())]);
      return;
    case Family::kShape:
      edit.GatherOutput(0, Inverse(inputs[0]));
      return;
    case Family::kReshape: {
      const auto reshape = ReadReshape(node, view);
      if (!IsIdentity(outputs[0]))
        node.set_input(1, edit.Ints(Picked(reshape->target, outputs[0])));
      if (!IsIdentity(inputs[0]) && IsIdentity(outputs[0]) &&
          !KeepsOrder(inputs[0], Singletons(*reshape->from))) {
        for (const onnx::NodeProto* dense : view.DenseReaders(node.output(0))) {
          edit.TurnRows(*dense, reshape->from->dims, inputs[0]);
        }
      }
      return;
    }
    case Family::kSqueeze:
      set_axes(1, inputs[0]);
      return;
    case Family::kUnsqueeze:
      set_axes(1, outputs[0]);
      return;
    case Family::kFirstInput:
      if (rule.inputs[0] == Port::kIgnored) node.set_input(0, edit.Broadcast(node.input(0), perm));
      return;
    case Family::kNone:
      return;
  }
}

}  // namespace modelpress
