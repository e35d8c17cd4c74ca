// Elementwise arithmetic of two tensors with broadcasting: ADD, SUB, MUL, DIV, MAXIMUM, MINIMUM, POW, SQUARED_DIFFERENCE,
// FLOOR_DIV, FLOOR_MOD, ATAN2, BITWISE_XOR, RIGHT_SHIFT; ADD_N (all versions; float32, integers, codes through real
// numbers).
//
//   ADD, SUB, MUL, DIV, MAXIMUM, MINIMUM, POW -> Add, Sub, Mul, Div, Max, Min, Pow, then the fused activation;
//     an ADD behind a dense layer without bias becomes that bias
//   SQUARED_DIFFERENCE -> Sub, Mul(d, d)                          ADD_N -> Sum
//   FLOOR_DIV of floats -> Div, Floor; of integers -> (a - Mod(a, b)) / b, as both divisions of integers cut off
//   FLOOR_MOD of integers -> Mod (sign of the divisor); of floats -> fmod, plus b where its sign is not that of b
//   ATAN2 -> Atan(y / x), turned by pi where x < 0; RIGHT_SHIFT (arithmetic) -> floor(a / 2^b)
#include <numbers>

#include "core/formats/tflite/operator.h"

namespace modelpress::tflite {
namespace {

using schema::ActivationFunctionType;

struct Operands {
  std::string a, b;
  DataType type = DataType::kFloat;
};

absl::StatusOr<Operands> Inputs(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  Operands operands;
  operands.type = c.ComputeType(c.Source(0));
  MP_ASSIGN_OR_RETURN(operands.a, c.InAs(0, operands.type));
  MP_ASSIGN_OR_RETURN(operands.b, c.InAs(1, operands.type));
  return operands;
}

// Whether input `i` is what a dense layer without bias gives to this operator alone, and the other input fits behind it.
bool FollowsDense(OperatorContext& c, int i) {
  if (!c.Has(0) || !c.Has(1) || IsQuantized(c.Source(i)) || c.Rank(i) != 2) return false;
  const SourceOperator* dense = c.scope().OnlyReadFrom(c.op().inputs[i]);
  const std::vector<int64_t>&shape = c.Source(i).shape, &other = c.Source(1 - i).shape;
  if (dense == nullptr || dense->code != BuiltinOperator::FULLY_CONNECTED || shape[1] < 1 ||
      c.Target().shape != shape || !c.Source(1 - i).has_shape || other.size() > 2) {
    return false;
  }
  const bool columns = other.empty() || other.back() == 1 || other.back() == shape[1];
  const bool rows = other.size() < 2 || other[0] == 1 || (shape[0] > 0 && other[0] == shape[0]);
  const auto* options = dense->table->builtin_options_as_FullyConnectedOptions();
  const bool activated =
      options != nullptr && options->fused_activation_function() != ActivationFunctionType::NONE;
  return columns && rows && !activated;
}

absl::Status Binary(OperatorContext& c, std::string_view op,
                    ActivationFunctionType activation = ActivationFunctionType::NONE) {
  MP_ASSIGN_OR_RETURN(const Operands in, Inputs(c));
  std::string y;
  if (op == "Add" && in.type == DataType::kFloat) {
    if (FollowsDense(c, 1) && c.builder().AddToGemm(in.b, in.a)) {
      y = in.b;
    } else if (FollowsDense(c, 0) && c.builder().AddToGemm(in.a, in.b)) {
      y = in.a;
    }
  }
  if (y.empty()) y = c.Add(op, {in.a, in.b});
  if (in.type != DataType::kFloat) {
    // Activations of integers clip like those of floats.
    if (activation == ActivationFunctionType::NONE) return c.Out(0, y, in.type);
    const double low = activation == ActivationFunctionType::RELU_N1_TO_1 ? -1 : 0;
    std::string clipped = c.Add("Max", {y, c.model().ScalarOf(in.type, low)});
    if (activation == ActivationFunctionType::RELU6)
      clipped = c.Add("Min", {clipped, c.model().ScalarOf(in.type, 6)});
    if (activation == ActivationFunctionType::RELU_N1_TO_1) {
      clipped = c.Add("Min", {clipped, c.model().ScalarOf(in.type, 1)});
    }
    return c.Out(0, clipped, in.type);
  }
  MP_ASSIGN_OR_RETURN(const std::string activated, c.Activate(y, activation));
  return c.Out(0, activated);
}

absl::Status SquaredDifference(OperatorContext& c) {
  MP_ASSIGN_OR_RETURN(const Operands in, Inputs(c));
  const std::string d = c.Add("Sub", {in.a, in.b});
  return c.Out(0, c.Add("Mul", {d, d}), in.type);
}

std::string FloorDivide(OperatorContext& c, const Operands& in) {
  if (in.type == DataType::kFloat || in.type == DataType::kDouble)
    return c.Add("Floor", {c.Add("Div", {in.a, in.b})});
  const std::string rest = c.Add("Mod", {in.a, in.b});
  return c.Add("Div", {c.Add("Sub", {in.a, rest}), in.b});
}

absl::Status FloorDiv(OperatorContext& c) {
  MP_ASSIGN_OR_RETURN(const Operands in, Inputs(c));
  return c.Out(0, FloorDivide(c, in), in.type);
}

absl::Status FloorMod(OperatorContext& c) {
  MP_ASSIGN_OR_RETURN(const Operands in, Inputs(c));
  if (in.type != DataType::kFloat && in.type != DataType::kDouble) {
    return c.Out(0, c.Add("Mod", {in.a, in.b}), in.type);
  }
  const std::string rest = c.Add("Mod", {in.a, in.b}, {{"fmod", int64_t{1}}});
  const std::string other_sign =
      c.Add("Less", {c.Add("Mul", {rest, in.b}), c.model().ScalarOf(in.type, 0)});
  return c.Out(0, c.Add("Where", {other_sign, c.Add("Add", {rest, in.b}), rest}), in.type);
}

absl::Status Atan2(OperatorContext& c) {
  MP_ASSIGN_OR_RETURN(const Operands in, Inputs(c));  // y, x
  const std::string zero = c.model().ScalarOf(in.type, 0);
  const auto constant = [&](double value) { return c.model().ScalarOf(in.type, value); };
  const std::string left = c.Add("Less", {in.b, zero}), below = c.Add("Less", {in.a, zero});
  // x = 0: y / x is an infinity, whose arc tangent is right; 0 / 0 is not, and is 0.
  const std::string ratio = c.Add("Div", {in.a, in.b});
  const std::string nothing =
      c.Add("And", {c.Add("Equal", {in.a, zero}), c.Add("Equal", {in.b, zero})});
  const std::string angle = c.Add("Where", {nothing, zero, c.Add("Atan", {ratio})});
  const std::string half_turn =
      c.Add("Where", {below, constant(-std::numbers::pi), constant(std::numbers::pi)});
  const std::string turn = c.Add("Where", {left, half_turn, zero});
  return c.Out(0, c.Add("Add", {angle, turn}), in.type);
}

absl::Status BitwiseXor(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  MP_ASSIGN_OR_RETURN(const std::string a, c.Raw(0));
  MP_ASSIGN_OR_RETURN(const std::string b, c.Raw(1));
  return c.Out(0, c.Add("BitwiseXor", {a, b}), ToOnnxType(c.Source(0).type));
}

absl::Status RightShift(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  const TensorType type = c.Source(0).type;
  const int bits = BitsPerElement(ToOnnxType(type));
  if (bits < 8 || bits > 32) return c.Unsupported("its type is not an integer of up to 32 bits");
  MP_ASSIGN_OR_RETURN(const std::string a, c.InAs(0, DataType::kInt64));
  MP_ASSIGN_OR_RETURN(const std::string amount, c.InAs(1, DataType::kInt64));
  const std::string within =
      c.Add("Max", {c.Add("Min", {amount, c.model().Int64(bits - 1)}), c.model().Int64(0)});
  const std::string power =
      c.Add("BitShift",
            {c.model().ScalarOf(DataType::kUint64, 1), c.builder().Cast(within, DataType::kUint64)},
            {{"direction", std::string("LEFT")}});
  const Operands in{a, c.builder().Cast(power, DataType::kInt64), DataType::kInt64};
  return c.Out(0, FloorDivide(c, in), DataType::kInt64);
}

absl::Status AddN(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  const DataType type = c.ComputeType(c.Source(0));
  Names inputs;
  for (int i = 0; i < c.input_count(); ++i) {
    MP_ASSIGN_OR_RETURN(inputs.emplace_back(), c.InAs(i, type));
  }
  if (inputs.size() == 1) return c.Out(0, inputs[0], type);
  if (type == DataType::kFloat || type == DataType::kDouble)
    return c.Out(0, c.Add("Sum", std::move(inputs)), type);
  std::string sum = inputs[0];
  for (size_t i = 1; i < inputs.size(); ++i) sum = c.Add("Add", {sum, inputs[i]});
  return c.Out(0, sum, type);
}

}  // namespace

void RegisterTfliteOperators_arithmetic(OperatorRegistry& registry) {
  registry.Add(BuiltinOperator::ADD, [](OperatorContext& c) {
    return Binary(c, "Add", c.Options<schema::AddOptions>().fused_activation_function());
  });
  registry.Add(BuiltinOperator::SUB, [](OperatorContext& c) {
    return Binary(c, "Sub", c.Options<schema::SubOptions>().fused_activation_function());
  });
  registry.Add(BuiltinOperator::MUL, [](OperatorContext& c) {
    return Binary(c, "Mul", c.Options<schema::MulOptions>().fused_activation_function());
  });
  registry.Add(BuiltinOperator::DIV, [](OperatorContext& c) {
    return Binary(c, "Div", c.Options<schema::DivOptions>().fused_activation_function());
  });
  registry.Add(BuiltinOperator::MAXIMUM, [](OperatorContext& c) { return Binary(c, "Max"); });
  registry.Add(BuiltinOperator::MINIMUM, [](OperatorContext& c) { return Binary(c, "Min"); });
  registry.Add(BuiltinOperator::POW, [](OperatorContext& c) { return Binary(c, "Pow"); });
  registry.Add(BuiltinOperator::SQUARED_DIFFERENCE, SquaredDifference);
  registry.Add(BuiltinOperator::FLOOR_DIV, FloorDiv);
  registry.Add(BuiltinOperator::FLOOR_MOD, FloorMod);
  registry.Add(BuiltinOperator::ATAN2, Atan2);
  registry.Add(BuiltinOperator::BITWISE_XOR, BitwiseXor);
  registry.Add(BuiltinOperator::RIGHT_SHIFT, RightShift);
  registry.Add(BuiltinOperator::ADD_N, AddN);
}

}  // namespace modelpress::tflite
