// Activation functions and softmax.
#include <numeric>

#include "core/trainer/operator.h"

namespace modelpress::trainer {
namespace {

Tensors Relu(const OperatorCall& call) { return {at::relu(call[0])}; }
Tensors Sigmoid(const OperatorCall& call) { return {at::sigmoid(call[0])}; }
Tensors Tanh(const OperatorCall& call) { return {at::tanh(call[0])}; }
Tensors Softplus(const OperatorCall& call) { return {at::softplus(call[0], 1, /*threshold=*/30)}; }
Tensors Softsign(const OperatorCall& call) { return {call[0] / (1 + at::abs(call[0]))}; }
Tensors Mish(const OperatorCall& call) { return {at::mish(call[0])}; }
Tensors LeakyRelu(const OperatorCall& call) {
  return {at::leaky_relu(call[0], call.Float("alpha", 0.01f))};
}
Tensors Elu(const OperatorCall& call) { return {at::elu(call[0], call.Float("alpha", 1))}; }
Tensors Celu(const OperatorCall& call) { return {at::celu(call[0], call.Float("alpha", 1))}; }
Tensors Selu(const OperatorCall& call) {
  return {at::elu(call[0], call.Float("alpha", 1.67326319217681884765625f),
                  call.Float("gamma", 1.05070102214813232421875f))};
}
Tensors HardSigmoid(const OperatorCall& call) {
  return {at::clamp(call[0] * call.Float("alpha", 0.2f) + call.Float("beta", 0.5f), 0, 1)};
}
Tensors HardSwish(const OperatorCall& call) {
  return {call[0] * at::clamp(call[0] / 6 + 0.5, 0, 1)};
}
Tensors ThresholdedRelu(const OperatorCall& call) {
  return {at::where(call[0] > call.Float("alpha", 1), call[0], at::zeros_like(call[0]))};
}
Tensors PRelu(const OperatorCall& call) {
  return {at::where(call[0] < 0, call[0] * call[1], call[0])};
}
Tensors Shrink(const OperatorCall& call) {
  const double lambda = call.Float("lambd", 0.5f), bias = call.Float("bias", 0);
  const at::Tensor& x = call[0];
  return {at::where(x < -lambda, x + bias, at::where(x > lambda, x - bias, at::zeros_like(x)))};
}
// Since opset 20; com.microsoft has it without the attribute.
Tensors Gelu(const OperatorCall& call) {
  return {at::gelu(call[0], call.String("approximate", "none"))};
}
Tensors BiasGelu(const OperatorCall& call) { return {at::gelu(call[0] + call[1])}; }
Tensors FastGelu(const OperatorCall& call) {
  return {at::gelu(call.Has(1) ? call[0] + call[1] : call[0], "tanh")};
}

// Before opset 13 all axes from `axis` on were one.
template <typename Function>
at::Tensor AlongAxis(const OperatorCall& call, Function function) {
  const at::Tensor& x = call[0];
  if (call.opset() >= 13) return function(x, Axis(call.Int("axis", -1), x.dim()));
  const int64_t axis = Axis(call.Int("axis", 1), x.dim());
  const auto sizes = x.sizes();
  const int64_t rows =
      std::accumulate(sizes.begin(), sizes.begin() + axis, int64_t{1}, std::multiplies<>());
  return function(x.reshape({rows, -1}), 1).reshape(sizes);
}

Tensors Softmax(const OperatorCall& call) {
  return {AlongAxis(call, [](const at::Tensor& x, int64_t axis) { return at::softmax(x, axis); })};
}
Tensors LogSoftmax(const OperatorCall& call) {
  return {
      AlongAxis(call, [](const at::Tensor& x, int64_t axis) { return at::log_softmax(x, axis); })};
}
Tensors Hardmax(const OperatorCall& call) {
  return {AlongAxis(call, [](const at::Tensor& x, int64_t axis) {
    return at::zeros_like(x).scatter(axis, at::argmax(x, axis, /*keepdim=*/true), 1);
  })};
}

}  // namespace

void RegisterOperators_activation(OperatorRegistry& registry) {
  registry.Add("Relu", Relu);
  registry.Add("Sigmoid", Sigmoid);
  registry.Add("Tanh", Tanh);
  registry.Add("Softplus", Softplus);
  registry.Add("Softsign", Softsign);
  registry.Add("Mish", Mish);
  registry.Add("LeakyRelu", LeakyRelu);
  registry.Add("Elu", Elu);
  registry.Add("Celu", Celu);
  registry.Add("Selu", Selu);
  registry.Add("HardSigmoid", HardSigmoid);
  registry.Add("HardSwish", HardSwish);
  registry.Add("ThresholdedRelu", ThresholdedRelu);
  registry.Add("PRelu", PRelu);
  registry.Add("Shrink", Shrink);
  registry.Add("Gelu", Gelu);
  registry.Add("Gelu", Gelu, "com.microsoft");
  registry.Add("BiasGelu", BiasGelu, "com.microsoft");
  registry.Add("FastGelu", FastGelu, "com.microsoft");
  registry.Add("Softmax", Softmax);
  registry.Add("LogSoftmax", LogSoftmax);
  registry.Add("Hardmax", Hardmax);
}

}  // namespace modelpress::trainer
