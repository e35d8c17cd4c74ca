// Normalizations.
#include <numeric>
#include <tuple>

#include "core/trainer/operator.h"

namespace modelpress::trainer {
namespace {

// By the stored statistics, or by those of the batch, which the stored ones then follow in place.
Tensors BatchNormalization(const OperatorCall& call) {
  if (call.Int("training_mode", 0) != 0 || call.Int("spatial", 1) == 0) {
    throw OperatorError("only the form of inference is trained (training_mode 0, spatial 1)");
  }
  const double epsilon = call.Float("epsilon", 1e-5f);
  const double momentum = 1 - call.Float("momentum", 0.9f);
  at::Tensor mean = call[3], variance = call[4];
  return {at::batch_norm(call[0], call[1], call[2], mean, variance,
                         call.settings().batch_statistics, momentum, epsilon,
                         /*cudnn_enabled=*/false)};
}

// com.microsoft names the same without an offset SimplifiedLayerNormalization.
Tensors LayerNormalization(const OperatorCall& call) {
  const at::Tensor& x = call[0];
  const int64_t axis = Axis(call.Int("axis", -1), x.dim());
  const at::IntArrayRef shape = x.sizes().slice(axis);
  const double epsilon = call.Float("epsilon", 1e-5f);
  if (call.Wants(1) || call.Wants(2)) {
    // libtorch's own has no gradients for these.
    std::vector<int64_t> axes(x.dim() - axis);
    std::iota(axes.begin(), axes.end(), axis);
    const at::Tensor mean = at::mean(x, axes, /*keepdim=*/true), centred = x - mean;
    const at::Tensor inverse =
        at::rsqrt(at::mean(centred * centred, axes, /*keepdim=*/true) + epsilon);
    const at::Tensor scaled = centred * inverse * call[1];
    return {call.Has(2) ? scaled + call[2] : scaled, mean, inverse};
  }
  const bool whole = call[1].sizes() == shape && (!call.Has(2) || call[2].sizes() == shape);
  auto [y, mean, inverse] =
      at::native_layer_norm(x, shape, whole ? call[1] : at::Tensor(),
                            whole && call.Has(2) ? call[2] : at::Tensor(), epsilon);
  if (!whole) {
    y = y * call[1];
    if (call.Has(2)) y = y + call[2];
  }
  return {y};
}

at::Tensor MeanSquareNormalized(const at::Tensor& x, int64_t first_axis, double epsilon) {
  std::vector<int64_t> axes(x.dim() - first_axis);
  std::iota(axes.begin(), axes.end(), first_axis);
  return x * at::rsqrt(at::mean(x * x, axes, /*keepdim=*/true) + epsilon);
}

Tensors SimplifiedLayerNormalization(const OperatorCall& call) {
  const at::Tensor& x = call[0];
  const int64_t axis = Axis(call.Int("axis", -1), x.dim());
  return {MeanSquareNormalized(x, axis, call.Float("epsilon", 1e-5f)) * call[1]};
}

// [C] for an input [N, C, ...].
at::Tensor PerChannel(const at::Tensor& values, const at::Tensor& x) {
  std::vector<int64_t> shape(x.dim(), 1);
  shape[1] = -1;
  return values.reshape(shape);
}

// Scale and offset are per group before opset 21, per channel since.
Tensors GroupNormalization(const OperatorCall& call) {
  const at::Tensor& x = call[0];
  const int64_t groups = call.Int("num_groups", 1);
  const auto spread = [&](const at::Tensor& values) {
    return values.numel() == x.size(1) ? values
                                       : values.repeat_interleave(x.size(1) / values.numel());
  };
  return {at::group_norm(x, groups, spread(call[1]), spread(call[2]), call.Float("epsilon", 1e-5f),
                         /*cudnn_enabled=*/false)};
}

Tensors InstanceNormalization(const OperatorCall& call) {
  const at::Tensor& x = call[0];
  std::vector<int64_t> axes(x.dim() - 2);
  std::iota(axes.begin(), axes.end(), 2);
  const at::Tensor centred = x - at::mean(x, axes, /*keepdim=*/true);
  const at::Tensor variance = at::mean(centred * centred, axes, /*keepdim=*/true);
  return {centred * at::rsqrt(variance + call.Float("epsilon", 1e-5f)) * PerChannel(call[1], x) +
          PerChannel(call[2], x)};
}

Tensors LpNormalization(const OperatorCall& call) {
  const at::Tensor& x = call[0];
  const int64_t axis = Axis(call.Int("axis", -1), x.dim());
  return {x / at::norm(x, call.Int("p", 2), {axis}, /*keepdim=*/true)};
}

// x / (bias + alpha / size sum of squares over `size` neighbouring channels)^beta.
Tensors LRN(const OperatorCall& call) {
  const at::Tensor& x = call[0];
  const int64_t size = call.Int("size", 1), before = (size - 1) / 2;
  std::vector<int64_t> pads(2 * (x.dim() - 1), 0);  // of the last axis first
  pads[pads.size() - 2] = before;
  pads[pads.size() - 1] = size - 1 - before;
  const at::Tensor sums = at::constant_pad_nd(x * x, pads).unfold(1, size, 1).sum(-1);
  const double alpha = call.Float("alpha", 1e-4f) / static_cast<double>(size);
  return {x / at::pow(sums * alpha + call.Float("bias", 1), call.Float("beta", 0.75f))};
}

Tensors MeanVarianceNormalization(const OperatorCall& call) {
  const at::Tensor& x = call[0];
  const std::vector<int64_t> axes = call.Ints("axes", {0, 2, 3});
  const at::Tensor centred = x - at::mean(x, axes, /*keepdim=*/true);
  return {centred / (at::sqrt(at::mean(centred * centred, axes, true)) + 1e-9)};
}

}  // namespace

void RegisterOperators_normalization(OperatorRegistry& registry) {
  registry.Add("BatchNormalization", BatchNormalization);
  registry.Add("LayerNormalization", LayerNormalization);
  registry.Add("SimplifiedLayerNormalization", SimplifiedLayerNormalization);
  registry.Add("SimplifiedLayerNormalization", SimplifiedLayerNormalization, "com.microsoft");
  registry.Add("GroupNormalization", GroupNormalization);
  registry.Add("InstanceNormalization", InstanceNormalization);
  registry.Add("LpNormalization", LpNormalization);
  registry.Add("LRN", LRN);
  registry.Add("MeanVarianceNormalization", MeanVarianceNormalization);
}

}  // namespace modelpress::trainer
