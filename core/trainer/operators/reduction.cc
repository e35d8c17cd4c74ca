// Sums, means and extrema over axes.
#include <algorithm>
#include <limits>
#include <numeric>

#include "core/trainer/operator.h"

namespace modelpress::trainer {
namespace {

// Axes are an attribute at first, an input since opset 13 (ReduceSum) or 18. Empty: none is to be reduced.
std::vector<int64_t> ReducedAxes(const OperatorCall& call) {
  const int64_t rank = call[0].dim();
  std::vector<int64_t> axes = call.IntsOf("axes", 1);
  if (axes.empty() && call.Int("noop_with_empty_axes", 0) == 0) {
    axes.resize(rank);
    std::iota(axes.begin(), axes.end(), 0);
  }
  for (int64_t& axis : axes) axis = Axis(axis, rank);
  std::ranges::sort(axes, std::greater<>());
  return axes;
}

template <at::Tensor (*kFunction)(const at::Tensor&, const std::vector<int64_t>&, bool)>
Tensors Reduce(const OperatorCall& call) {
  const at::Tensor& x = call[0];
  const std::vector<int64_t> axes = ReducedAxes(call);
  if (axes.empty() && x.dim() > 0) return {x};
  return {kFunction(x, axes, call.Int("keepdims", 1) != 0).to(x.scalar_type())};
}

using Axes = std::vector<int64_t>;

at::Tensor Sum(const at::Tensor& x, const Axes& axes, bool keep) { return at::sum(x, axes, keep); }
at::Tensor Mean(const at::Tensor& x, const Axes& axes, bool keep) {
  return x.is_floating_point() ? at::mean(x, axes, keep) : at::mean(x.to(at::kDouble), axes, keep);
}
// Of nothing it is the number that changes nothing, which floats have.
at::Tensor Extremum(const at::Tensor& x, const Axes& axes, bool keep, bool largest) {
  if (x.numel() == 0 && x.is_floating_point()) {
    const double infinity = std::numeric_limits<double>::infinity();
    return at::full_like(at::sum(x, axes, keep), largest ? -infinity : infinity);
  }
  return largest ? at::amax(x, axes, keep) : at::amin(x, axes, keep);
}
at::Tensor Max(const at::Tensor& x, const Axes& axes, bool keep) {
  return Extremum(x, axes, keep, true);
}
at::Tensor Min(const at::Tensor& x, const Axes& axes, bool keep) {
  return Extremum(x, axes, keep, false);
}
// Axes come largest first, so that those to go keep their numbers.
at::Tensor Prod(const at::Tensor& x, const Axes& axes, bool keep) {
  at::Tensor result = x;
  for (const int64_t axis : axes) result = at::prod(result, axis, keep);
  return result;
}
at::Tensor L1(const at::Tensor& x, const Axes& axes, bool keep) {
  return at::sum(at::abs(x), axes, keep);
}
at::Tensor SumSquare(const at::Tensor& x, const Axes& axes, bool keep) {
  return at::sum(x * x, axes, keep);
}
at::Tensor L2(const at::Tensor& x, const Axes& axes, bool keep) {
  const at::Tensor sums = SumSquare(x, axes, keep);
  return at::sqrt(sums.is_floating_point() ? sums : sums.to(at::kDouble));
}
at::Tensor LogSum(const at::Tensor& x, const Axes& axes, bool keep) {
  return at::log(at::sum(x, axes, keep));
}
at::Tensor LogSumExp(const at::Tensor& x, const Axes& axes, bool keep) {
  return at::logsumexp(x.is_floating_point() ? x : x.to(at::kDouble), axes, keep);
}

Tensors ArgExtremum(const OperatorCall& call, bool largest) {
  const at::Tensor& x = call[0];
  const int64_t axis = Axis(call.Int("axis", 0), x.dim());
  const bool keep = call.Int("keepdims", 1) != 0;
  const bool last = call.Int("select_last_index", 0) != 0;
  const at::Tensor ordered = last ? at::flip(x, {axis}) : x;
  const at::Tensor found =
      largest ? at::argmax(ordered, axis, keep) : at::argmin(ordered, axis, keep);
  return {last ? x.size(axis) - 1 - found : found};
}
Tensors ArgMax(const OperatorCall& call) { return ArgExtremum(call, true); }
Tensors ArgMin(const OperatorCall& call) { return ArgExtremum(call, false); }

// Of equal values the first; gradients go to the values taken.
Tensors TopK(const OperatorCall& call) {
  const at::Tensor& x = call[0];
  const int64_t count = call.HasAttribute("k") ? call.Int("k", 1) : ToInts(call[1]).at(0);
  const int64_t axis = Axis(call.Int("axis", -1), x.dim());
  const auto [sorted, order] =
      at::sort(x, /*stable=*/true, axis, /*descending=*/call.Int("largest", 1) != 0);
  return {sorted.narrow(axis, 0, count), order.narrow(axis, 0, count)};
}

}  // namespace

void RegisterOperators_reduction(OperatorRegistry& registry) {
  registry.Add("ReduceSum", Reduce<Sum>);
  registry.Add("ReduceMean", Reduce<Mean>);
  registry.Add("ReduceMax", Reduce<Max>);
  registry.Add("ReduceMin", Reduce<Min>);
  registry.Add("ReduceProd", Reduce<Prod>);
  registry.Add("ReduceL1", Reduce<L1>);
  registry.Add("ReduceL2", Reduce<L2>);
  registry.Add("ReduceSumSquare", Reduce<SumSquare>);
  registry.Add("ReduceLogSum", Reduce<LogSum>);
  registry.Add("ReduceLogSumExp", Reduce<LogSumExp>);
  registry.Add("ArgMax", ArgMax);
  registry.Add("ArgMin", ArgMin);
  registry.Add("TopK", TopK);
}

}  // namespace modelpress::trainer
