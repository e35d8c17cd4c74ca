// Activations: RELU, RELU6, RELU_N1_TO_1, RELU_0_TO_1, LEAKY_RELU, PRELU, ELU, HARD_SWISH, GELU, LOGISTIC, TANH, SOFTMAX,
// LOG_SOFTMAX (all versions; float32, int8, uint8, int16).
//
//   RELU -> Relu               RELU6, RELU_N1_TO_1, RELU_0_TO_1 -> Clip      LEAKY_RELU -> LeakyRelu
//   PRELU -> PRelu             ELU -> Elu (alpha 1)                          HARD_SWISH -> HardSwish
//   GELU -> Gelu               LOGISTIC -> Sigmoid                           TANH -> Tanh
//   SOFTMAX -> (Mul by beta, if not 1) Softmax over the last axis            LOG_SOFTMAX -> LogSoftmax, last axis
#include "core/formats/tflite/operator.h"

namespace modelpress::tflite {
namespace {

absl::Status Simple(OperatorContext& c, std::string_view op, Attributes attributes = {}) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  MP_ASSIGN_OR_RETURN(const std::string x, c.In(0));
  return c.Out(0, c.Add(op, {x}, std::move(attributes)));
}

absl::Status Clipped(OperatorContext& c, schema::ActivationFunctionType activation) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  MP_ASSIGN_OR_RETURN(const std::string x, c.In(0));
  MP_ASSIGN_OR_RETURN(std::string y, c.Activate(x, activation));
  return c.Out(0, y);
}

absl::Status Relu0To1(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  MP_ASSIGN_OR_RETURN(const std::string x, c.In(0));
  return c.Out(0, c.Add("Clip", {x, c.model().Float(0), c.model().Float(1)}));
}

absl::Status LeakyRelu(OperatorContext& c) {
  return Simple(c, "LeakyRelu", {{"alpha", c.Options<schema::LeakyReluOptions>().alpha()}});
}

absl::Status Gelu(OperatorContext& c) {
  const bool approximate = c.Options<schema::GeluOptions>().approximate();
  return Simple(c, "Gelu", {{"approximate", std::string(approximate ? "tanh" : "none")}});
}

absl::Status PRelu(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  MP_ASSIGN_OR_RETURN(const std::string x, c.In(0));
  MP_ASSIGN_OR_RETURN(const std::string slope, c.In(1));
  return c.Out(0, c.Add("PRelu", {x, slope}));
}

absl::Status Softmax(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  MP_ASSIGN_OR_RETURN(std::string x, c.In(0));
  const float beta = c.Options<schema::SoftmaxOptions>().beta();
  if (beta != 1) x = c.Add("Mul", {x, c.model().Float(beta)});
  return c.Out(0, c.Add("Softmax", {x}, {{"axis", int64_t{-1}}}));
}

}  // namespace

void RegisterTfliteOperators_activations(OperatorRegistry& registry) {
  using schema::ActivationFunctionType;
  registry.Add(BuiltinOperator::RELU,
               [](OperatorContext& c) { return Clipped(c, ActivationFunctionType::RELU); });
  registry.Add(BuiltinOperator::RELU6,
               [](OperatorContext& c) { return Clipped(c, ActivationFunctionType::RELU6); });
  registry.Add(BuiltinOperator::RELU_N1_TO_1,
               [](OperatorContext& c) { return Clipped(c, ActivationFunctionType::RELU_N1_TO_1); });
  registry.Add(BuiltinOperator::RELU_0_TO_1, Relu0To1);
  registry.Add(BuiltinOperator::LEAKY_RELU, LeakyRelu);
  registry.Add(BuiltinOperator::PRELU, PRelu);
  registry.Add(BuiltinOperator::ELU, [](OperatorContext& c) { return Simple(c, "Elu"); });
  registry.Add(BuiltinOperator::HARD_SWISH,
               [](OperatorContext& c) { return Simple(c, "HardSwish"); });
  registry.Add(BuiltinOperator::GELU, Gelu);
  registry.Add(BuiltinOperator::LOGISTIC, [](OperatorContext& c) { return Simple(c, "Sigmoid"); });
  registry.Add(BuiltinOperator::TANH, [](OperatorContext& c) { return Simple(c, "Tanh"); });
  registry.Add(BuiltinOperator::SOFTMAX, Softmax);
  registry.Add(BuiltinOperator::LOG_SOFTMAX,
               [](OperatorContext& c) { return Simple(c, "LogSoftmax", {{"axis", int64_t{-1}}}); });
}

}  // namespace modelpress::tflite
