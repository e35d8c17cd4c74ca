// Elementwise arithmetic of two tensors with broadcasting: ADD, SUB, MUL, DIV, MAXIMUM, MINIMUM, POW, SQUARED_DIFFERENCE,
// FLOOR_DIV, FLOOR_MOD, ATAN2, BITWISE_XOR, RIGHT_SHIFT; ADD_N (all versions; float32, integers, codes through real
// numbers).
//
//   ADD, SUB, MUL, DIV, MAXIMUM, MINIMUM, POW -> Add, Sub, Mul, Div, Max, Min, Pow, then the fused activation;
//     an ADD behind a dense layer without bias becomes that bias
//   SQUARED_DIFFERENCE -> Sub, Mul(d, d)                          ADD_N -> Sum
//   FLOOR_DIV of floats -> Div, Floor, of double numbers as in the source (1 / 0.1f is below 10, and 10 as a float), but by
//     powers of two, where the quotient is exact; of integers -> (a - Mod(a, b)) / b, as both divisions of integers cut off
//   FLOOR_MOD of integers -> Mod (sign of the divisor); of floats -> fmod, plus b where its sign is not that of b
//   ATAN2 -> Atan(y / x), turned by pi where x < 0
//   RIGHT_SHIFT (arithmetic) -> floor(a / 2^b); of unsigned integers by a constant -> BitShift
#include <algorithm>
#include <cmath>
#include <numbers>
#include <span>

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

// Of integers.
std::string FloorDivide(OperatorContext& c, const Operands& in) {
  const std::string rest = c.Add("Mod", {in.a, in.b});
  return c.Add("Div", {c.Add("Sub", {in.a, rest}), in.b});
}

// The values of input `i` if it is a constant of type float32.
std::optional<std::vector<float>> ConstantFloats(OperatorContext& c, int i) {
  if (!c.IsConstant(i)) return std::nullopt;
  absl::StatusOr<std::vector<float>> values = c.Floats(i);
  if (!values.ok()) return std::nullopt;
  return *std::move(values);
}

bool IsPowerOfTwo(float value) {
  int exponent = 0;
  return std::isfinite(value) && std::abs(std::frexp(value, &exponent)) == 0.5f;
}

absl::Status FloorDiv(OperatorContext& c) {
  MP_ASSIGN_OR_RETURN(Operands in, Inputs(c));
  if (in.type != DataType::kFloat && in.type != DataType::kDouble)
    return c.Out(0, FloorDivide(c, in), in.type);
  const std::optional<std::vector<float>> divisors = ConstantFloats(c, 1);
  if (!divisors.has_value() || !std::ranges::all_of(*divisors, IsPowerOfTwo)) {
    in = {c.builder().Cast(in.a, DataType::kDouble), in.b, DataType::kDouble};
    if (divisors.has_value()) {
      const std::vector<double> wide(divisors->begin(), divisors->end());
      in.b =
          c.model().Constant(DataType::kDouble, c.Source(1).shape, std::as_bytes(std::span(wide)));
    } else {
      in.b = c.builder().Cast(in.b, DataType::kDouble);
    }
  }
  return c.Out(0, c.Add("Floor", {c.Add("Div", {in.a, in.b})}), in.type);
}

absl::Status FloorMod(OperatorContext& c) {
  MP_ASSIGN_OR_RETURN(const Operands in, Inputs(c));
  if (in.type != DataType::kFloat && in.type != DataType::kDouble) {
    return c.Out(0, c.Add("Mod", {in.a, in.b}), in.type);
  }
  const std::string rest = c.Add("Mod", {in.a, in.b}, {{"fmod", int64_t{1}}});
  const std::optional<std::vector<float>> divisors = ConstantFloats(c, 1);
  const bool positive = divisors.has_value() &&
                        std::ranges::all_of(*divisors, [](float divisor) { return divisor > 0; });
  const std::string other_sign =
      c.Add("Less", {positive ? rest : c.Add("Mul", {rest, in.b}), c.model().ScalarOf(in.type, 0)});
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

// By a constant: the powers of two fit the type in which the runtime divides, unless a sign bit is all that is left.
absl::StatusOr<bool> ShiftByConstant(OperatorContext& c, int bits) {
  if (!c.IsConstant(1)) return false;
  MP_ASSIGN_OR_RETURN(std::vector<int64_t> amounts, c.Ints(1));
  for (int64_t& amount : amounts) amount = std::clamp<int64_t>(amount, 0, bits - 1);
  const std::vector<int64_t>& shape = c.Source(1).shape;
  const TensorType type = c.Source(0).type;
  if (type == TensorType::UINT8 || type == TensorType::UINT32) {
    const std::vector<uint8_t> bytes(amounts.begin(), amounts.end());
    const std::vector<uint32_t> words(amounts.begin(), amounts.end());
    const std::string amount =
        c.model().Constant(ToOnnxType(type), shape,
                           type == TensorType::UINT8 ? std::as_bytes(std::span(bytes))
                                                     : std::as_bytes(std::span(words)));
    MP_ASSIGN_OR_RETURN(const std::string a, c.Raw(0));
    MP_RETURN_IF_ERROR(
        c.OutRaw(0, c.Add("BitShift", {a, amount}, {{"direction", std::string("RIGHT")}})));
    return true;
  }
  if (std::ranges::contains(amounts, 31)) return false;
  std::vector<int32_t> powers;
  for (const int64_t amount : amounts) powers.push_back(int32_t{1} << amount);
  MP_ASSIGN_OR_RETURN(const std::string a, c.InAs(0, DataType::kInt32));
  const Operands in{a,
                    c.model().Constant(DataType::kInt32, shape, std::as_bytes(std::span(powers))),
                    DataType::kInt32};
  MP_RETURN_IF_ERROR(c.Out(0, FloorDivide(c, in), DataType::kInt32));
  return true;
}

absl::Status RightShift(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  const TensorType type = c.Source(0).type;
  const int bits = BitsPerElement(ToOnnxType(type));
  if (bits < 8 || bits > 32) return c.Unsupported("its type is not an integer of up to 32 bits");
  MP_ASSIGN_OR_RETURN(const bool shifted, ShiftByConstant(c, bits));
  if (shifted) return absl::OkStatus();
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
