// Operators that work element by element, with broadcasting.
#include "core/channels/rules.h"

namespace modelpress {
namespace {

void JoinUnary(ChannelAxes& axes, const onnx::NodeProto& node) {
  axes.JoinAll(node.input(0), node.output(0), node);
  KeepOtherOutputs(axes, node);
}

// Axes are counted from the right; where an input has extent 1 and the output has not, it is
// spread.
void JoinBroadcast(ChannelAxes& axes, const onnx::NodeProto& node) {
  const std::string& y = node.output(0);
  const int rank = axes.Rank(y);
  for (const std::string& input : node.input()) {
    if (!input.empty() && (rank < 0 || axes.Rank(input) < 0 || axes.Rank(input) > rank)) {
      return axes.KeepNode(node, "the shapes that meet are not known");
    }
  }
  for (const std::string& input : node.input()) {
    const int offset = rank - axes.Rank(input);
    for (int axis = 0; axis < axes.Rank(input); ++axis) {
      if (axes.Extent(input, axis) == 1 && axes.Extent(y, axis + offset) != 1) continue;
      axes.Join(input, axis, y, axis + offset, node);
    }
  }
}

}  // namespace

std::span<const OperatorRule> ElementwiseRules() {
  static constexpr OperatorRule kRules[] = {
      {"Abs", JoinUnary},
      {"Acos", JoinUnary},
      {"Asin", JoinUnary},
      {"Atan", JoinUnary},
      {"BitwiseNot", JoinUnary},
      {"Cast", JoinUnary},
      {"Ceil", JoinUnary},
      {"Celu", JoinUnary},
      {"Clip", JoinUnary},
      {"Cos", JoinUnary},
      {"Dropout", JoinUnary},
      {"Elu", JoinUnary},
      {"Erf", JoinUnary},
      {"Exp", JoinUnary},
      {"Floor", JoinUnary},
      {"Gelu", JoinUnary},
      {"HardSigmoid", JoinUnary},
      {"HardSwish", JoinUnary},
      {"Identity", JoinUnary},
      {"IsInf", JoinUnary},
      {"IsNaN", JoinUnary},
      {"LeakyRelu", JoinUnary},
      {"Log", JoinUnary},
      {"Mish", JoinUnary},
      {"Neg", JoinUnary},
      {"Not", JoinUnary},
      {"Reciprocal", JoinUnary},
      {"Relu", JoinUnary},
      {"Round", JoinUnary},
      {"Selu", JoinUnary},
      {"Shrink", JoinUnary},
      {"Sigmoid", JoinUnary},
      {"Sign", JoinUnary},
      {"Sin", JoinUnary},
      {"Softplus", JoinUnary},
      {"Softsign", JoinUnary},
      {"Sqrt", JoinUnary},
      {"Tanh", JoinUnary},
      {"ThresholdedRelu", JoinUnary},
      {"Add", JoinBroadcast},
      {"And", JoinBroadcast},
      {"Div", JoinBroadcast},
      {"Equal", JoinBroadcast},
      {"Greater", JoinBroadcast},
      {"GreaterOrEqual", JoinBroadcast},
      {"Less", JoinBroadcast},
      {"LessOrEqual", JoinBroadcast},
      {"Max", JoinBroadcast},
      {"Mean", JoinBroadcast},
      {"Min", JoinBroadcast},
      {"Mod", JoinBroadcast},
      {"Mul", JoinBroadcast},
      {"Or", JoinBroadcast},
      {"PRelu", JoinBroadcast},
      {"Pow", JoinBroadcast},
      {"Sub", JoinBroadcast},
      {"Sum", JoinBroadcast},
      {"Where", JoinBroadcast},
      {"Xor", JoinBroadcast},
  };
  return kRules;
}

}  // namespace modelpress
