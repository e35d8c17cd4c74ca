// Pools over windows and over everything.
#include <limits>

#include "core/trainer/operator.h"
#include "core/trainer/window.h"

namespace modelpress::trainer {
namespace {

std::vector<int64_t> Sum(const std::vector<int64_t>& a, const std::vector<int64_t>& b) {
  std::vector<int64_t> sum = a;
  for (size_t i = 0; i < sum.size(); ++i) sum[i] += b[i];
  return sum;
}

struct PoolShape {
  Window window;
  Pads pads;
  std::vector<int64_t> more;  // of ceil_mode, at the end
};

PoolShape ShapeOf(const OperatorCall& call) {
  PoolShape shape;
  shape.window = WindowOf(call, {});
  const auto extents = call[0].sizes().slice(2);
  shape.pads = PadsOf(call, shape.window, extents);
  shape.more = std::vector<int64_t>(shape.window.kernel.size(), 0);
  if (call.Int("ceil_mode", 0) != 0) shape.more = CeilPads(shape.window, shape.pads, extents);
  return shape;
}

Tensors MaxPool(const OperatorCall& call) {
  if (call.Wants(1)) throw OperatorError("its second output, Indices, is not computed");
  const at::Tensor& x = call[0];
  const auto [window, pads, more] = ShapeOf(call);
  const at::Tensor floats = x.is_floating_point() ? x : x.to(at::kFloat);
  const at::Tensor padded =
      Padded(floats, pads.begin, Sum(pads.end, more), -std::numeric_limits<double>::infinity());
  const std::vector<int64_t> none(window.kernel.size(), 0);
  at::Tensor y;
  switch (window.kernel.size()) {
    case 1:
      y = at::max_pool1d(padded, window.kernel, window.strides, none, window.dilations);
      break;
    case 2:
      y = at::max_pool2d(padded, window.kernel, window.strides, none, window.dilations);
      break;
    case 3:
      y = at::max_pool3d(padded, window.kernel, window.strides, none, window.dilations);
      break;
    default:
      throw OperatorError("windows of rank 1 to 3 only");
  }
  return {y.to(x.scalar_type())};
}

// Sum over each window, as a convolution with ones for each channel.
at::Tensor WindowSums(const at::Tensor& x, const Window& window) {
  std::vector<int64_t> shape = {x.size(1), 1};
  shape.insert(shape.end(), window.kernel.begin(), window.kernel.end());
  const std::vector<int64_t> none(window.kernel.size(), 0);
  return at::convolution(x, at::ones(shape, x.options()), {}, window.strides, none,
                         window.dilations, /*transposed=*/false, none, x.size(1));
}

Tensors AveragePool(const OperatorCall& call) {
  const at::Tensor& x = call[0];
  const auto [window, pads, more] = ShapeOf(call);
  const at::Tensor sums = WindowSums(Padded(x, pads.begin, Sum(pads.end, more), 0), window);
  // How many values a window covers; padding counts where the attribute says so, what ceil_mode adds never does.
  std::vector<int64_t> shape = {1, 1};
  for (const int64_t extent : x.sizes().slice(2)) shape.push_back(extent);
  const double counted = call.Int("count_include_pad", 0) != 0 ? 1 : 0;
  at::Tensor counts = Padded(at::ones(shape, x.options()), pads.begin, pads.end, counted);
  const std::vector<int64_t> none(window.kernel.size(), 0);
  counts = WindowSums(Padded(counts, none, more, 0), window);
  return {sums / counts};
}

Tensors LpPool(const OperatorCall& call) {
  const double p = static_cast<double>(call.Int("p", 2));
  const auto [window, pads, more] = ShapeOf(call);
  const at::Tensor powers = at::pow(at::abs(call[0]), p);
  return {at::pow(WindowSums(Padded(powers, pads.begin, Sum(pads.end, more), 0), window), 1 / p)};
}

std::vector<int64_t> SpatialAxes(const at::Tensor& x) {
  std::vector<int64_t> axes;
  for (int64_t i = 2; i < x.dim(); ++i) axes.push_back(i);
  if (axes.empty()) throw OperatorError("the input has no axes behind batch and channel");
  return axes;
}

Tensors GlobalAveragePool(const OperatorCall& call) {
  return {at::mean(call[0], SpatialAxes(call[0]), /*keepdim=*/true)};
}
Tensors GlobalMaxPool(const OperatorCall& call) {
  return {at::amax(call[0], SpatialAxes(call[0]), /*keepdim=*/true)};
}
Tensors GlobalLpPool(const OperatorCall& call) {
  const double p = static_cast<double>(call.Int("p", 2));
  return {at::pow(at::sum(at::pow(at::abs(call[0]), p), SpatialAxes(call[0]), true), 1 / p)};
}

}  // namespace

void RegisterOperators_pooling(OperatorRegistry& registry) {
  registry.Add("MaxPool", MaxPool);
  registry.Add("AveragePool", AveragePool);
  registry.Add("LpPool", LpPool);
  registry.Add("GlobalAveragePool", GlobalAveragePool);
  registry.Add("GlobalMaxPool", GlobalMaxPool);
  registry.Add("GlobalLpPool", GlobalLpPool);
}

}  // namespace modelpress::trainer
