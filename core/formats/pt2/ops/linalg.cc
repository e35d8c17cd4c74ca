// Products and norms of linear algebra.
//
//   inner, tensordot, vdot -> MatMul       linalg_multi_dot, chain_matmul -> MatMul, one after the other
//   cross -> a1 b2 - a2 b1 of the axis turned      linalg_vecdot, trace, dist, renorm -> their definitions
//   linalg_norm, linalg_matrix_norm -> ReduceL2, or sums of magnitudes for 1 and infinity
//   det, logdet -> Det        matrix_power -> MatMul by repeated squaring
#include <algorithm>
#include <cmath>
#include <limits>

#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {
namespace {

// The sum over pairs of axes: what is left of a, then of b; by MatMul of matrices. (The runtime's Einsum is not safe.)
void Contract(OperatorContext& c, const std::string& a, const TensorMeta& a_meta,
              const std::string& b, const TensorMeta& b_meta, Ints a_axes, Ints b_axes,
              DataType type) {
  const auto place = [](Ints& axes, int rank) {
    std::vector<bool> seen(static_cast<size_t>(rank), false);
    for (int64_t& axis : axes) {
      if (axis < 0) axis += rank;
      if (axis < 0 || axis >= rank || seen[static_cast<size_t>(axis)]) return false;
      seen[static_cast<size_t>(axis)] = true;
    }
    return true;
  };
  if (a_axes.size() != b_axes.size() || !place(a_axes, a_meta.rank()) ||
      !place(b_axes, b_meta.rank())) {
    return c.Malformed("it sums over axes that do not fit each other");
  }
  int64_t shared = 1;
  for (const int64_t axis : a_axes) {
    const Extent& extent = a_meta.sizes[static_cast<size_t>(axis)];
    if (!extent.value.has_value() || __builtin_mul_overflow(shared, *extent.value, &shared) ||
        shared == 0) {
      return c.Refuse("the extents that it sums over are not known before the model runs",
                      "give --input-shape");
    }
  }
  // [rest, shared] and [shared, rest]
  const auto matrix = [&](const std::string& x, int rank, const Ints& axes, bool first) {
    Ints perm;
    for (int64_t i = 0; i < rank; ++i) {
      if (!std::ranges::contains(axes, i)) perm.push_back(i);
    }
    perm.insert(first ? perm.begin() : perm.end(), axes.begin(), axes.end());
    const std::string turned = c.builder().Transpose(x, perm);
    if (rank == 2 && axes.size() == 1) return turned;
    return c.Reshape(turned, first ? Ints{shared, -1} : Ints{-1, shared});
  };
  const std::string y = c.Add(
      "MatMul", {matrix(a, a_meta.rank(), a_axes, false), matrix(b, b_meta.rank(), b_axes, true)});
  if (a_meta.rank() == 2 && b_meta.rank() == 2 && a_axes.size() == 1) return c.Out(y, type);
  absl::StatusOr<std::string> shape = c.scope().ShapeValue(c.Target().sizes);
  if (!shape.ok()) return c.Fail(shape.status());
  c.Out(c.Add("Reshape", {y, *shape}, {{"allowzero", int64_t{1}}}), type);
}

void Products(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const std::string a = c.InAs("self", type), b = c.InAs("other", type);
  const int a_rank = c.Rank("self"), b_rank = c.Rank("other");
  if (c.name() == "tensordot") {
    return Contract(c, a, c.Meta("self"), b, c.Meta("other"), c.IntList("dims_self"),
                    c.IntList("dims_other"), type);
  }
  if (a_rank == 0 || b_rank == 0) return c.Out(c.Add("Mul", {a, b}), type);
  if (a_rank == 1 && b_rank == 1) return c.Out(c.Add("MatMul", {a, b}), type);
  Contract(c, a, c.Meta("self"), b, c.Meta("other"), {-1}, {-1}, type);
}

void Chain(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const Names matrices = c.ListAs(c.name() == "chain_matmul" ? "matrices" : "tensors", type);
  if (matrices.empty()) return c.Malformed("it multiplies nothing");
  std::string y = matrices[0];
  for (size_t i = 1; i < matrices.size(); ++i) y = c.Add("MatMul", {y, matrices[i]});
  c.Out(y, type);
}

void Cross(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const int rank = c.Target().rank();
  if (c.Rank("self") != rank || c.Rank("other") != rank)
    return c.Refuse("its tensors have other numbers of axes");
  int64_t axis = -1;
  if (c.name() == "linalg_cross" || c.Has("dim")) {
    axis = c.Axis("dim", -1, rank);
  } else {
    for (int64_t i = rank - 1; i >= 0; --i) {
      if (c.Extent("self", i) == 3) axis = i;
    }
    if (axis < 0) return c.Malformed("none of its axes has three elements");
  }
  const auto turned = [&](std::string_view name, const Ints& order) {
    return c.Add("Gather", {c.InAs(name, type), c.Ints64(order)}, {{"axis", axis}});
  };
  const Ints next = {1, 2, 0}, last = {2, 0, 1};
  c.Out(c.Add("Sub", {c.Add("Mul", {turned("self", next), turned("other", last)}),
                      c.Add("Mul", {turned("self", last), turned("other", next)})}),
        type);
}

void VectorDot(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const int rank = std::max(c.Rank("x"), c.Rank("y"));
  const int64_t axis = c.Axis("dim", -1, rank) - rank;
  c.Out(c.Add("ReduceSum", {c.Add("Mul", {c.InAs("x", type), c.InAs("y", type)}), c.Ints64({axis})},
              {{"keepdims", int64_t{0}}}),
        type);
}

void Trace(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const int64_t rows = c.Extent("self", 0), columns = c.Extent("self", 1);
  if (rows < 0 || columns < 0)
    return c.Refuse("its extents are not known before the model runs", "give --input-shape");
  const int64_t size = std::min(rows, columns);
  if (!c.Affordable(static_cast<double>(size))) return;
  Ints places;
  for (int64_t i = 0; i < size; ++i) places.push_back(i * (columns + 1));
  const std::string flat = c.Reshape(c.InAs("self", type), Ints{-1});
  c.Out(c.Add("ReduceSum", {c.Add("Gather", {flat, c.Ints64(places)}, {{"axis", int64_t{0}}})},
              {{"keepdims", int64_t{0}}}),
        type);
}

// Along sorted axes; of order 0 the count of what is not 0.
std::string VectorNorm(OperatorContext& c, const std::string& x, double order, const Ints& axes,
                       bool keep, DataType type) {
  if (axes.empty()) return c.Add("Abs", {x});
  const Attributes attributes = {{"keepdims", int64_t{keep}}};
  const std::string along = c.Ints64(axes);
  if (order == 2) return c.Add("ReduceL2", {x, along}, attributes);
  if (order == 1) return c.Add("ReduceL1", {x, along}, attributes);
  const std::string size = c.Add("Abs", {x});
  if (std::isinf(order))
    return c.Add(order > 0 ? "ReduceMax" : "ReduceMin", {size, along}, attributes);
  if (order == 0) {
    const std::string is =
        c.Cast(c.Add("Greater", {size, c.Number(type, 0)}), DataType::kBool, type);
    return c.Add("ReduceSum", {is, along}, attributes);
  }
  const std::string sum =
      c.Add("ReduceSum", {c.Add("Pow", {size, c.Number(type, order)}), along}, attributes);
  return c.Add("Pow", {sum, c.Number(type, 1 / order)});
}

void MatrixNorm(OperatorContext& c, const std::string& x, int64_t rows, int64_t columns,
                DataType type) {
  const bool keep = c.Bool("keepdim", false);
  const Argument* ord = c.Find("ord");
  const bool text = ord != nullptr && ord->kind == Argument::Kind::kText;
  const std::string kind = text ? ord->text : ord == nullptr ? "fro" : "";
  if (kind == "fro") {
    Ints axes = {std::min(rows, columns), std::max(rows, columns)};
    return c.Out(VectorNorm(c, x, 2, axes, keep, type), type);
  }
  const double order = text ? 0 : c.Float("ord", 2);
  if (text || (std::abs(order) != 1 && !std::isinf(order)))
    return c.Refuse("it is a norm of singular values",
                    "use torch.linalg.matrix_norm of order fro, 1 or inf");
  const bool of_columns = std::abs(order) == 1;
  const std::string sums =
      c.Add("ReduceL1", {x, c.Ints64({of_columns ? rows : columns})}, {{"keepdims", int64_t{1}}});
  const std::string y =
      c.Add(order > 0 ? "ReduceMax" : "ReduceMin", {sums, c.Ints64({of_columns ? columns : rows})},
            {{"keepdims", int64_t{1}}});
  Ints axes = {std::min(rows, columns), std::max(rows, columns)};
  c.Out(keep ? y : c.Squeeze(y, axes), type);
}

void Norm(OperatorContext& c) {
  const std::string_view self = c.Has("self") ? "self" : "A";
  const DataType type = ComputeType(c.Target().type);
  const std::string x = c.InAs(self, type);
  const int rank = c.Rank(self);
  Ints dims = c.Has("dim") ? c.IntList("dim") : Ints{};
  const bool matrix = c.name() == "linalg_matrix_norm";
  if (matrix && dims.empty()) dims = {-2, -1};
  for (int64_t& axis : dims) {
    if (axis < 0) axis += rank;
    if (axis < 0 || axis >= rank) return c.Malformed("its axes do not exist");
  }
  const bool two = dims.size() == 2 || (dims.empty() && rank == 2 && c.Has("ord"));
  if (matrix || (two && (c.Has("ord") || dims.size() == 2))) {
    if (dims.empty()) dims = {0, 1};
    if (dims.size() != 2 || dims[0] == dims[1]) return c.Malformed("it needs two axes");
    if (!c.Has("ord") && !matrix) {
      return c.Out(VectorNorm(c, x, 2, c.Axes("dim", rank), c.Bool("keepdim", false), type), type);
    }
    return MatrixNorm(c, x, dims[0], dims[1], type);
  }
  const Argument* ord = c.Find("ord");
  if (ord != nullptr && ord->kind == Argument::Kind::kText && ord->text != "fro")
    return c.Refuse("it is a norm of singular values");
  const double order = ord == nullptr || ord->kind == Argument::Kind::kText ? 2 : c.Float("ord", 2);
  c.Out(VectorNorm(c, x, order, c.Axes("dim", rank), c.Bool("keepdim", false), type), type);
}

void Distance(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const std::string apart = c.Add("Sub", {c.InAs("self", type), c.InAs("other", type)});
  Ints axes;
  for (int64_t i = 0; i < std::max(c.Rank("self"), c.Rank("other")); ++i) axes.push_back(i);
  c.Out(VectorNorm(c, apart, c.Float("p", 2), axes, false, type), type);
}

void Renorm(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const int rank = c.Rank("self");
  const int64_t axis = c.Axis("dim", 0, rank);
  Ints others;
  for (int64_t i = 0; i < rank; ++i) {
    if (i != axis) others.push_back(i);
  }
  const std::string x = c.InAs("self", type), most = c.InAs("maxnorm", type);
  const std::string norm = VectorNorm(c, x, c.Float("p", 2), others, true, type);
  const std::string factor = c.Add("Div", {most, c.Add("Add", {norm, c.Number(type, 1e-7)})});
  c.Out(c.Add("Mul",
              {x, c.Add("Where", {c.Add("Greater", {norm, most}), factor, c.Number(type, 1)})}),
        type);
}

void Determinant(OperatorContext& c) {
  const std::string_view self = c.Has("self") ? "self" : "A";
  std::string y = c.Add("Det", {c.InAs(self, DataType::kFloat)});
  for (int o = 1; o < c.output_count(); ++o) {
    if (c.Wants(o)) return c.Refuse("more of its results is read than the determinant");
  }
  if (c.name() == "logdet") y = c.Add("Log", {y});
  c.Out(y, DataType::kFloat);
}

void MatrixPower(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  int64_t left = c.Int("n", 1);
  if (left < 1 || left > (1 << 20)) return c.Refuse("its power is not positive");
  std::string square = c.InAs("self", type), y;
  for (; left > 0; left /= 2) {
    if (left % 2 == 1) y = y.empty() ? square : c.Add("MatMul", {y, square});
    if (left > 1) square = c.Add("MatMul", {square, square});
  }
  c.Out(y, type);
}

}  // namespace

void RegisterPt2Operators_linalg(OperatorRegistry& registry) {
  registry.Add({"aten.inner", "aten.tensordot", "aten.vdot"}, Products);
  registry.Add({"aten.linalg_multi_dot", "aten.chain_matmul"}, Chain);
  registry.Add({"aten.cross", "aten.linalg_cross"}, Cross);
  registry.Add("aten.linalg_vecdot", VectorDot);
  registry.Add("aten.trace", Trace);
  registry.Add({"aten.linalg_norm", "aten.linalg_matrix_norm"}, Norm);
  registry.Add("aten.dist", Distance);
  registry.Add("aten.renorm", Renorm);
  registry.Add({"aten.det", "aten.linalg_det", "aten._linalg_det", "aten.logdet"}, Determinant);
  registry.Add({"aten.matrix_power", "aten.linalg_matrix_power"}, MatrixPower);
}

}  // namespace modelpress::pt2
