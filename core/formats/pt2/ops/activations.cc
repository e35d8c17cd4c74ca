// Activation functions.
//
//   relu, elu, selu, celu, leaky_relu, softplus, prelu, gelu, mish, hardswish, softmax, log_softmax -> the ONNX operator of
//     that name
//   relu6, hardtanh -> Clip       silu -> x * Sigmoid(x)     softshrink -> Shrink      glu -> a * Sigmoid(b)
//   threshold, hardshrink -> Where                           log_sigmoid -> -Softplus(-x)
#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {
namespace {

// The input in the type of the result, for kernels of float alone.
std::string Input(OperatorContext& c, DataType* type) {
  *type = FloatOnly(c.Target().type);
  return c.InAs(c.Has("self") ? "self" : "input", *type);
}

float Number(OperatorContext& c, std::string_view name, double otherwise) {
  return static_cast<float>(c.Float(name, otherwise));
}

void Relu(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const std::string x = c.InAs("self", type);
  if (IsFloating(c.Target().type)) return c.Out(c.Add("Relu", {x}), type);
  c.Out(c.Add("Max", {x, c.Number(type, 0)}), type);
}

void Clipped(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const bool relu6 = c.name() == "relu6";
  const std::string low = c.Number(type, relu6 ? 0 : c.Float("min_val", -1));
  const std::string high = c.Number(type, relu6 ? 6 : c.Float("max_val", 1));
  c.Out(c.Add("Clip", {c.InAs("self", type), low, high}), type);
}

void Gelu(OperatorContext& c) {
  DataType type;
  const std::string x = Input(c, &type);
  c.Out(c.Add("Gelu", {x}, {{"approximate", c.Text("approximate", "none")}}), type);
}

void Gated(OperatorContext& c) {
  DataType type;
  const std::string x = Input(c, &type);
  const std::string_view name = c.name();
  if (name == "hardswish") return c.Out(c.Add("HardSwish", {x}), type);
  if (name == "mish") return c.Out(c.Add("Mish", {x}), type);
  c.Out(c.Add("Mul", {x, c.Add("Sigmoid", {x})}), type);
}

void HardSigmoid(OperatorContext& c) {
  DataType type;
  const std::string x = Input(c, &type);
  c.Out(c.Add("HardSigmoid", {x}, {{"alpha", 1.0F / 6}, {"beta", 0.5F}}), type);
}

void Exponential(OperatorContext& c) {
  DataType type;
  const std::string x = Input(c, &type);
  const std::string_view name = c.name();
  if (name == "selu") return c.Out(c.Add("Selu", {x}), type);
  if (name == "celu") {
    if (c.Float("alpha", 1) == 0) return c.Malformed("its alpha is 0");
    return c.Out(c.Add("Celu", {x}, {{"alpha", Number(c, "alpha", 1)}}), type);
  }
  const double scale = c.Float("scale", 1), input_scale = c.Float("input_scale", 1);
  if (input_scale != 1) return c.Refuse("its input_scale is not 1");
  std::string y = c.Add("Elu", {x}, {{"alpha", Number(c, "alpha", 1)}});
  if (scale != 1) y = c.Add("Mul", {y, c.Number(type, scale)});
  c.Out(y, type);
}

void LeakyRelu(OperatorContext& c) {
  DataType type;
  const std::string x = Input(c, &type);
  float slope = Number(c, "negative_slope", 0.01);
  if (c.name().starts_with("rrelu")) {
    if (c.Bool("training", false))
      return c.Refuse("it is random in training", "export the module in eval mode");
    slope = (Number(c, "lower", 0.125) + Number(c, "upper", 1.0 / 3)) / 2;
  }
  c.Out(c.Add("LeakyRelu", {x}, {{"alpha", slope}}), type);
}

void Softplus(OperatorContext& c) {
  DataType type;
  const std::string x = Input(c, &type);
  const double beta = c.Float("beta", 1);
  if (beta == 1) return c.Out(c.Add("Softplus", {x}), type);
  const std::string factor = c.Number(type, beta);
  c.Out(c.Add("Div", {c.Add("Softplus", {c.Add("Mul", {x, factor})}), factor}), type);
}

void LogSigmoid(OperatorContext& c) {
  DataType type;
  const std::string x = Input(c, &type);
  c.Out(c.Add("Neg", {c.Add("Softplus", {c.Add("Neg", {x})})}), type);
}

void Softsign(OperatorContext& c) {
  DataType type;
  const std::string x = Input(c, &type);
  c.Out(c.Add("Softsign", {x}), type);
}

void Threshold(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const std::string x = c.InAs("self", type);
  const std::string below = c.Add("LessOrEqual", {x, c.Number(type, c.Float("threshold", 0))});
  c.Out(c.Add("Where", {below, c.Number(type, c.Float("value", 0)), x}), type);
}

void Shrink(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const std::string x = c.InAs("self", type);
  const double lambda = c.Float("lambd", 0.5);
  if (c.name() == "softshrink") {
    const float edge = static_cast<float>(lambda);
    return c.Out(c.Add("Shrink", {x}, {{"lambd", edge}, {"bias", edge}}), type);
  }
  const std::string inside = c.Add("LessOrEqual", {c.Add("Abs", {x}), c.Number(type, lambda)});
  c.Out(c.Add("Where", {inside, c.Number(type, 0), x}), type);
}

void Glu(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const std::string x = c.InAs("self", type);
  const int64_t axis = c.Axis("dim", -1, c.Rank("self"));
  const Names halves =
      c.builder().AddMany("Split", {x}, {{"axis", axis}, {"num_outputs", int64_t{2}}}, 2);
  c.Out(c.Add("Mul", {halves[0], c.Add("Sigmoid", {halves[1]})}), type);
}

void Prelu(OperatorContext& c) {
  const DataType type = FloatOnly(c.Target().type);
  std::string slope = c.InAs("weight", type);
  const int rank = c.Rank("self");
  if (rank > 2 && c.Rank("weight") == 1) {
    // One slope for each channel, which is axis 1.
    Ints dims(static_cast<size_t>(rank - 1), 1);
    dims[0] = c.Extent("weight", 0);
    slope = c.Reshape(slope, dims);
  }
  c.Out(c.Add("PRelu", {c.InAs("self", type), slope}), type);
}

void Softmax(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  std::string x = c.InAs("self", type);
  const int rank = c.Rank("self");
  const int64_t axis = c.Axis("dim", -1, rank);
  if (rank == 0) x = c.Reshape(x, Ints{1});
  std::string y =
      c.Add(c.name().contains("log_softmax") ? "LogSoftmax" : "Softmax", {x}, {{"axis", axis}});
  if (rank == 0) y = c.Reshape(y, Ints{});
  c.Out(y, type);
}

}  // namespace

void RegisterPt2Operators_activations(OperatorRegistry& registry) {
  registry.Add("aten.relu", Relu);
  registry.Add({"aten.relu6", "aten.hardtanh"}, Clipped);
  registry.Add("aten.gelu", Gelu);
  registry.Add({"aten.silu", "aten.mish", "aten.hardswish"}, Gated);
  registry.Add("aten.hardsigmoid", HardSigmoid);
  registry.Add({"aten.elu", "aten.selu", "aten.celu"}, Exponential);
  registry.Add({"aten.leaky_relu", "aten.rrelu", "aten.rrelu_with_noise",
                "aten.rrelu_with_noise_functional"},
               LeakyRelu);
  registry.Add("aten.softplus", Softplus);
  registry.Add({"aten.log_sigmoid", "aten.log_sigmoid_forward"}, LogSigmoid);
  registry.Add("aten.softsign", Softsign);
  registry.Add("aten.threshold", Threshold);
  registry.Add({"aten.hardshrink", "aten.softshrink"}, Shrink);
  registry.Add("aten.glu", Glu);
  registry.Add({"aten.prelu", "aten._prelu_kernel"}, Prelu);
  registry.Add({"aten.softmax", "aten._softmax", "aten.log_softmax", "aten._log_softmax",
                "aten.special_softmax", "aten.special_log_softmax"},
               Softmax);
}

}  // namespace modelpress::pt2
