// The table of operators: see layout_rules.h.
#include "core/rewrite/layout_rules.h"

#include <algorithm>
#include <numeric>

#include "absl/container/flat_hash_set.h"

namespace modelpress {
namespace {

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

Family FamilyOf(const std::string& op) {
  static const auto* const families = new absl::flat_hash_map<std::string, Family>([] {
    absl::flat_hash_map<std::string, Family> map;
    for (const char* name : {"Add",
                             "Sub",
                             "Mul",
                             "Div",
                             "Pow",
                             "Max",
                             "Min",
                             "Sum",
                             "Mod",
                             "And",
                             "Or",
                             "Xor",
                             "Equal",
                             "Less",
                             "Greater",
                             "LessOrEqual",
                             "GreaterOrEqual",
                             "Where",
                             "PRelu",
                             "BitShift",
                             "BitwiseAnd",
                             "BitwiseOr",
                             "BitwiseXor",
                             "Mean"}) {
      map[name] = Family::kElementwise;
    }
    for (const char* name : {"Relu",     "Sigmoid",    "Tanh",           "LeakyRelu",   "Elu",
                             "Selu",     "Celu",       "HardSwish",      "HardSigmoid", "Gelu",
                             "Softplus", "Softsign",   "Mish",           "Erf",         "Exp",
                             "Log",      "Sqrt",       "Reciprocal",     "Abs",         "Neg",
                             "Floor",    "Ceil",       "Round",          "Sign",        "Sin",
                             "Cos",      "Tan",        "Atan",           "Asin",        "Acos",
                             "Sinh",     "Cosh",       "Asinh",          "Acosh",       "Atanh",
                             "Not",      "Cast",       "Identity",       "Clip",        "IsNaN",
                             "IsInf",    "BitwiseNot", "ThresholdedRelu"}) {
      map[name] = Family::kFirstInput;
    }
    for (const char* name : {"QuantizeLinear", "DequantizeLinear"}) map[name] = Family::kQuantize;
    for (const char* name : {"Softmax", "LogSoftmax", "Split", "LpNormalization"})
      map[name] = Family::kAxisFirst;
    for (const char* name : {"ArgMax", "ArgMin"}) map[name] = Family::kArg;
    map["Concat"] = Family::kAxisAttribute;
    for (const char* name :
         {"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
          "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp"}) {
      map[name] = Family::kReduce;
    }
    map["Pad"] = Family::kPad;
    map["Slice"] = Family::kSlice;
    map["Tile"] = Family::kTile;
    map["Expand"] = Family::kExpand;
    map["Resize"] = Family::kResize;
    map["CumSum"] = Family::kCumSum;
    map["Gather"] = Family::kGather;
    map["Shape"] = Family::kShape;
    map["Reshape"] = Family::kReshape;
    map["Squeeze"] = Family::kSqueeze;
    map["Unsqueeze"] = Family::kUnsqueeze;
    return map;
  }());
  const auto found = families->find(op);
  return found == families->end() ? Family::kNone : found->second;
}

int64_t NonNegative(int64_t axis, int64_t rank) { return axis < 0 ? axis + rank : axis; }

std::optional<std::vector<int64_t>> AxesInput(const onnx::NodeProto& node, const LayoutView& view,
                                              int input, int64_t rank) {
  if (node.input_size() <= input || node.input(input).empty()) return std::nullopt;
  auto axes = view.Ints(node.input(input));
  if (!axes.has_value()) return std::nullopt;
  for (int64_t& axis : *axes) {
    axis = NonNegative(axis, rank);
    if (axis < 0 || axis >= rank) return std::nullopt;
  }
  return axes;
}

// The axes that are not in `gone` come in their old order when they are read in the order of `perm`.
bool KeepsOrder(const Permutation& perm, const std::vector<int64_t>& gone) {
  int64_t last = -1;
  for (const int64_t axis : perm) {
    if (std::ranges::contains(gone, axis)) continue;
    if (axis < last) return false;
    last = axis;
  }
  return true;
}

// Axes of extent 1: they can stand anywhere.
std::vector<int64_t> Singletons(const ValueShape& shape) {
  std::vector<int64_t> axes;
  for (int64_t i = 0; i < shape.rank(); ++i) {
    if (shape.dims[i] == 1) axes.push_back(i);
  }
  return axes;
}

int64_t Middle(const ValueShape& shape) {
  int64_t product = 1;
  for (int64_t i = 1; i + 1 < shape.rank(); ++i) product *= shape.dims[i];
  return product;
}

// [n, s..., c] to [n, t..., c]: only spatial axes are split or joined, so channels-first goes through.
bool KeepsEnds(const ValueShape& from, const ValueShape& to, const std::vector<int64_t>& target) {
  if (from.rank() < 3 || to.rank() < 3 || from.dims.back() < 0 ||
      from.dims.back() != to.dims.back())
    return false;
  for (int64_t i = 1; i + 1 < from.rank(); ++i) {
    if (from.dims[i] < 0) return false;
  }
  for (int64_t i = 1; i + 1 < to.rank(); ++i) {
    if (to.dims[i] < 0) return false;
  }
  if (Middle(from) != Middle(to) || static_cast<int64_t>(target.size()) != to.rank()) return false;
  return from.dims[0] == to.dims[0] || target[0] == -1 || target[0] == 0;
}

struct Reshaped {
  const ValueShape *from = nullptr, *to = nullptr;
  std::vector<int64_t> target;
};

std::optional<Reshaped> ReadReshape(const onnx::NodeProto& node, const LayoutView& view) {
  if (node.input_size() < 2) return std::nullopt;
  Reshaped found;
  found.from = view.Shape(node.input(0));
  found.to = view.Shape(node.output(0));
  auto target = view.Ints(node.input(1));
  if (found.from == nullptr || found.to == nullptr || !target.has_value() ||
      static_cast<int64_t>(target->size()) != found.to->rank() ||
      std::ranges::contains(*target, 0)) {
    return std::nullopt;
  }
  found.target = *std::move(target);
  return found;
}

// [n, s..., c] to [n, s * ... * c] for dense layers only, whose weights can follow another order.
bool FlattensIntoDense(const onnx::NodeProto& node, const LayoutView& view,
                       const Reshaped& reshape) {
  if (reshape.to->rank() != 2 || reshape.from->rank() < 3) return false;
  int64_t features = 1;
  for (int64_t i = 1; i < reshape.from->rank(); ++i) {
    if (reshape.from->dims[i] < 1) return false;
    features *= reshape.from->dims[i];
  }
  const bool keeps_batch = reshape.target[0] == -1 || reshape.target[0] == reshape.from->dims[0];
  return keeps_batch && reshape.to->dims[1] == features &&
         !view.DenseReaders(node.output(0)).empty();
}

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

bool KeepsDims(const onnx::NodeProto& node) { return IntAttribute(node, "keepdims", 1) != 0; }

// Attribute "axis" without a default that depends on the operator's version: readers write it.
int64_t AxisAttribute(const onnx::NodeProto& node, int64_t rank) {
  const int64_t fallback = node.op_type() == "Softmax" || node.op_type() == "LogSoftmax" ? -1 : 0;
  return NonNegative(IntAttribute(node, "axis", fallback), rank);
}

}  // namespace

bool IsIdentity(const Permutation& perm) {
  for (size_t i = 0; i < perm.size(); ++i) {
    if (perm[i] != static_cast<int64_t>(i)) return false;
  }
  return true;
}

Permutation Inverse(const Permutation& perm) {
  Permutation inverse(perm.size());
  for (size_t i = 0; i < perm.size(); ++i) inverse[perm[i]] = static_cast<int64_t>(i);
  return inverse;
}

Permutation ChannelsFirst(int64_t rank) {
  Permutation perm(rank);
  std::iota(perm.begin(), perm.end(), 0);
  if (rank > 2) std::rotate(perm.begin() + 1, perm.end() - 1, perm.end());
  return perm;
}

bool IsChannelsFirst(const Permutation& perm) {
  return perm == ChannelsFirst(static_cast<int64_t>(perm.size()));
}

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
    case Family::kSlice:
      set_axes(3, perm);
      return;
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
