// Sums over named axes: einsum and bilinear.
//
// Tensors are taken together two by two: axes that only one of them has and nobody needs are summed first; then the axes
// of both come in the order batch (in both and needed), own, shared (in both and summed), the own ones as one and the
// shared ones as one, and MatMul does the rest; Mul and ReduceSum where both have the same axes. Diagonals (an axis that
// one tensor has twice) are taken first. ONNX's Einsum does no more than that: version 1.21 of the runtime writes past its
// buffers where no axis is left, and does not run sums of one tensor whose axes change places.
#include <algorithm>
#include <set>

#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {
namespace {

// A value whose axes have letters.
struct Labelled {
  std::string value;
  std::string axes;
  TensorMeta meta;  // extents of the axes
};

bool HasTwice(std::string axes) {
  std::ranges::sort(axes);
  return std::ranges::adjacent_find(axes) != axes.end();
}

// The letters of one operand, "..." replaced by capitals that count from the end; "" if they do not fit its rank.
std::string Expand(OperatorContext& c, std::string_view term, int rank, int ellipsis) {
  std::string axes;
  for (size_t i = 0; i < term.size(); ++i) {
    if (term[i] != '.') {
      axes.push_back(term[i]);
      continue;
    }
    const int count = rank >= 0 ? rank - static_cast<int>(term.size() - 3) : ellipsis;
    if (term.substr(i, 3) != "..." || count < 0 || count > 16) {
      c.Malformed("its equation is not valid");
      return "";
    }
    for (int k = count; k > 0; --k) axes.push_back(static_cast<char>('\x80' + k));
    i += 2;
  }
  if (rank < 0 && HasTwice(axes)) {
    c.Malformed("its result has an axis twice");
    return "";
  }
  return axes;
}

// Elements whose places along the axes of one letter are equal.
void TakeDiagonals(OperatorContext& c, Labelled* x) {
  if (!HasTwice(x->axes)) return;
  Labelled kept;
  std::string equation, result;
  for (size_t i = 0; i < x->axes.size(); ++i) {
    size_t place = kept.axes.find(x->axes[i]);
    if (place == std::string::npos) {
      place = kept.axes.size();
      kept.axes.push_back(x->axes[i]);
      kept.meta.sizes.push_back(x->meta.sizes[i]);
      result.push_back(static_cast<char>('a' + place));
    } else if (kept.meta.sizes[place] != x->meta.sizes[i] || x->meta.sizes[i].value == 0) {
      return c.Refuse("it takes a diagonal of axes with different extents, or of nothing");
    }
    equation.push_back(static_cast<char>('a' + place));
  }
  if (kept.axes.size() > 26) return c.Refuse("it has more than 26 axes");
  kept.value = c.Add("Einsum", {x->value}, {{"equation", equation + "->" + result}});
  *x = std::move(kept);
}

Extent ExtentOf(const Labelled& x, char axis) { return x.meta.sizes[x.axes.find(axis)]; }

void Sum(OperatorContext& c, Labelled* x, const std::string& gone) {
  Ints axes;
  Labelled kept{.value = x->value};
  for (size_t i = 0; i < x->axes.size(); ++i) {
    if (gone.contains(x->axes[i])) {
      axes.push_back(static_cast<int64_t>(i));
    } else {
      kept.axes.push_back(x->axes[i]);
      kept.meta.sizes.push_back(x->meta.sizes[i]);
    }
  }
  if (axes.empty()) return;
  kept.value = c.Add("ReduceSum", {x->value, c.Ints64(axes)}, {{"keepdims", int64_t{0}}});
  *x = std::move(kept);
}

void Order(OperatorContext& c, Labelled* x, const std::string& axes) {
  Ints perm;
  TensorMeta meta;
  for (const char axis : axes) {
    perm.push_back(static_cast<int64_t>(x->axes.find(axis)));
    meta.sizes.push_back(ExtentOf(*x, axis));
  }
  *x = {c.builder().Transpose(x->value, perm), axes, std::move(meta)};
}

// The extent of several axes as one.
Extent Product(const Labelled& x, const std::string& axes) {
  int64_t product = 1;
  for (const char axis : axes) {
    const Extent extent = ExtentOf(x, axis);
    if (!extent.value.has_value())
      return axes.size() == 1 ? extent : Extent{.expression = "product"};
    if (__builtin_mul_overflow(product, *extent.value, &product))
      return Extent{.expression = "product"};
  }
  return {.value = product};
}

// [batch..., rows, columns], each of the two groups as one axis.
std::string Grouped(OperatorContext& c, Labelled x, const std::string& batch,
                    const std::string& rows, const std::string& columns) {
  Order(c, &x, batch + rows + columns);
  TensorMeta grouped;
  for (const char axis : batch) grouped.sizes.push_back(ExtentOf(x, axis));
  grouped.sizes.push_back(Product(x, rows));
  grouped.sizes.push_back(Product(x, columns));
  return c.Reshape(x.value, x.meta, grouped);
}

Labelled Multiply(OperatorContext& c, Labelled a, Labelled b, const std::string& needed) {
  const auto only = [&](const Labelled& x, const Labelled& other, bool wanted) {
    std::string axes;
    for (const char axis : x.axes) {
      if (!other.axes.contains(axis) && needed.contains(axis) == wanted) axes.push_back(axis);
    }
    return axes;
  };
  Sum(c, &a, only(a, b, false));
  Sum(c, &b, only(b, a, false));
  std::string batch, shared;
  for (const char axis : a.axes) {
    if (b.axes.contains(axis)) (needed.contains(axis) ? batch : shared).push_back(axis);
  }
  const std::string rows = only(a, b, true), columns = only(b, a, true);
  if (rows.empty() && columns.empty()) {
    Order(c, &b, a.axes);
    Labelled result{.value = c.Add("Mul", {a.value, b.value}), .axes = a.axes};
    for (size_t i = 0; i < a.axes.size(); ++i)
      result.meta.sizes.push_back(a.meta.sizes[i].value == 1 ? b.meta.sizes[i] : a.meta.sizes[i]);
    Sum(c, &result, shared);
    return result;
  }
  const std::string product =
      c.Add("MatMul", {Grouped(c, a, batch, rows, shared), Grouped(c, b, batch, shared, columns)});
  Labelled result{.axes = batch + rows + columns};
  TensorMeta grouped;
  for (const char axis : batch) {
    // One of them may be stretched.
    const Extent extent = ExtentOf(a, axis), other = ExtentOf(b, axis);
    result.meta.sizes.push_back(extent.value == 1 ? other : extent);
    grouped.sizes.push_back(result.meta.sizes.back());
  }
  grouped.sizes.push_back(Product(a, rows));
  grouped.sizes.push_back(Product(b, columns));
  for (const char axis : rows) result.meta.sizes.push_back(ExtentOf(a, axis));
  for (const char axis : columns) result.meta.sizes.push_back(ExtentOf(b, axis));
  result.value = c.Reshape(product, grouped, result.meta);
  return result;
}

// The sum that the terms and the result say, of operands that are values already.
void SumOf(OperatorContext& c, std::vector<Labelled> operands, const std::string& result,
           DataType type) {
  for (const char axis : result) {
    const bool known =
        std::ranges::any_of(operands, [&](const Labelled& x) { return x.axes.contains(axis); });
    if (!known) return c.Malformed("its result has an axis that no operand has");
  }
  Labelled sum = operands[0];
  for (size_t i = 1; i < operands.size() && c.ok(); ++i) {
    std::string needed = result;
    for (size_t k = i + 1; k < operands.size(); ++k) needed += operands[k].axes;
    sum = Multiply(c, sum, operands[i], needed);
  }
  if (!c.ok()) return;
  std::string gone;
  for (const char axis : sum.axes) {
    if (!result.contains(axis)) gone.push_back(axis);
  }
  Sum(c, &sum, gone);
  Order(c, &sum, result);
  c.Out(sum.value, type);
}

void Einsum(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  std::string equation;
  for (const char letter : c.Text("equation", "")) {
    if (letter != ' ') equation.push_back(letter);
  }
  const size_t arrow = equation.find("->");
  std::vector<std::string> terms(1);
  for (const char letter : equation.substr(0, arrow)) {
    if (letter == ',') {
      terms.emplace_back();
    } else {
      terms.back().push_back(letter);
    }
  }
  const Names values = c.ListAs("tensors", type);
  if (values.size() != terms.size() || values.empty())
    return c.Malformed("its equation has another number of terms");
  std::vector<Labelled> operands;
  int ellipsis = 0;
  for (size_t i = 0; i < terms.size(); ++i) {
    const TensorMeta& meta = c.scope().Meta(c.List("tensors")[i]);
    const std::string axes = Expand(c, terms[i], meta.rank(), 0);
    if (!c.ok()) return;
    if (static_cast<int>(axes.size()) != meta.rank())
      return c.Malformed("a term of its equation does not fit its tensor");
    if (terms[i].contains('.'))
      ellipsis = std::max(ellipsis, meta.rank() - static_cast<int>(terms[i].size() - 3));
    operands.push_back({values[i], axes, meta});
    TakeDiagonals(c, &operands.back());
    if (!c.ok()) return;
  }
  std::string result;
  if (arrow != std::string::npos) {
    result = Expand(c, equation.substr(arrow + 2), -1, ellipsis);
  } else {
    // What is left out: the axes of the dots, then the letters that occur once, in their order.
    for (int k = ellipsis; k > 0; --k) result.push_back(static_cast<char>('\x80' + k));
    std::string letters, all;
    for (const std::string& term : terms) all += term;
    for (const char letter : all) {
      if (letter != '.' && std::ranges::count(all, letter) == 1) letters.push_back(letter);
    }
    std::ranges::sort(letters);
    result += letters;
  }
  if (c.ok()) SumOf(c, std::move(operands), result, type);
}

// y[..., o] = sum over i, j of a[..., i] w[o, i, j] b[..., j]: the weight with one input, then with the other.
void Bilinear(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const TensorMeta &a = c.Meta("input1"), &w = c.Meta("weight"), &b = c.Meta("input2");
  if (w.rank() != 3 || a.rank() < 1 || a.rank() != b.rank())
    return c.Malformed("its inputs have other numbers of axes");
  std::string lead;
  for (int k = a.rank() - 1; k > 0; --k) lead.push_back(static_cast<char>('\x80' + k));
  const Labelled first{c.InAs("input1", type), lead + "i", a},
      second{c.InAs("input2", type), lead + "j", b};
  const Labelled weight{c.InAs("weight", type), "oij", w};
  if (!c.ok()) return;
  Labelled y = Multiply(c, first, weight, lead + "oj");
  y = Multiply(c, y, second, lead + "o");
  Order(c, &y, lead + "o");
  if (c.Has("bias")) y.value = c.Add("Add", {y.value, c.InAs("bias", type)});
  c.Out(y.value, type);
}

}  // namespace

void RegisterPt2Operators_einsum(OperatorRegistry& registry) {
  registry.Add("aten.einsum", Einsum);
  registry.Add("aten.bilinear", Bilinear);
}

}  // namespace modelpress::pt2
