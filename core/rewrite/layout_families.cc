// Kinds of operators, and questions about nodes: see layout_families.h.
#include "core/rewrite/layout_families.h"

#include <algorithm>
#include <numeric>

namespace modelpress {
namespace {

int64_t Middle(const ValueShape& shape) {
  int64_t product = 1;
  for (int64_t i = 1; i + 1 < shape.rank(); ++i) product *= shape.dims[i];
  return product;
}

}  // namespace

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

bool KeepsOrder(const Permutation& perm, const std::vector<int64_t>& gone) {
  int64_t last = -1;
  for (const int64_t axis : perm) {
    if (std::ranges::contains(gone, axis)) continue;
    if (axis < last) return false;
    last = axis;
  }
  return true;
}

std::vector<int64_t> Singletons(const ValueShape& shape) {
  std::vector<int64_t> axes;
  for (int64_t i = 0; i < shape.rank(); ++i) {
    if (shape.dims[i] == 1) axes.push_back(i);
  }
  return axes;
}

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

int64_t AxisAttribute(const onnx::NodeProto& node, int64_t rank) {
  const int64_t fallback = node.op_type() == "Softmax" || node.op_type() == "LogSoftmax" ? -1 : 0;
  return NonNegative(IntAttribute(node, "axis", fallback), rank);
}

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

}  // namespace modelpress
