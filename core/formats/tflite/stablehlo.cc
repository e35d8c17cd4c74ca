// What the translations of STABLEHLO_* operators share: see stablehlo.h.
#include "core/formats/tflite/stablehlo.h"

#include <algorithm>

namespace modelpress::tflite {

bool AreAxes(const std::vector<int64_t>& axes, int64_t rank) {
  std::vector<bool> seen(static_cast<size_t>(std::max<int64_t>(rank, 0)), false);
  for (const int64_t axis : axes) {
    if (axis < 0 || axis >= rank || seen[static_cast<size_t>(axis)]) return false;
    seen[static_cast<size_t>(axis)] = true;
  }
  return true;
}

absl::StatusOr<std::string> Dilated(OperatorContext& c, const std::string& x,
                                    const std::vector<int64_t>& shape,
                                    const std::vector<int64_t>& gaps,
                                    const std::vector<int64_t>& low,
                                    const std::vector<int64_t>& high, const std::string& value) {
  constexpr int64_t kMost = int64_t{1} << 26;
  const size_t rank = shape.size();
  if (gaps.size() != rank || low.size() != rank || high.size() != rank)
    return c.Malformed("its paddings are not one for each axis");
  std::vector<int64_t> split, split_pads, wide, pads(2 * rank);
  bool any = false;
  int64_t elements = 1;
  for (size_t i = 0; i < rank; ++i) {
    const auto is_large = [](int64_t number) { return number < -kMost || number > kMost; };
    if (gaps[i] < 0 || is_large(gaps[i]) || is_large(low[i]) || is_large(high[i]))
      return c.Malformed("a padding is negative or too large");
    if (shape[i] < 1) return c.Unsupported("the shape of its input is not known, or empty");
    MP_RETURN_IF_ERROR(c.Limit(shape[i], gaps[i] + 1));
    const int64_t extent = (shape[i] - 1) * (gaps[i] + 1) + 1 + low[i] + high[i];
    if (extent < 1) return c.Malformed("it takes away all elements of an axis");
    MP_RETURN_IF_ERROR(c.Limit(elements, std::max(extent, shape[i] * (gaps[i] + 1))));
    elements *= std::max(extent, shape[i] * (gaps[i] + 1));
    split.push_back(shape[i]);
    split_pads.push_back(0);
    if (gaps[i] > 0) {
      any = true;
      split.push_back(1);
      split_pads.push_back(gaps[i]);
    }
    wide.push_back(shape[i] * (gaps[i] + 1));
    pads[i] = low[i];
    pads[rank + i] = high[i] - gaps[i];
  }
  std::string y = x;
  if (any) {
    split_pads.insert(split_pads.begin(), split.size(), 0);
    y = c.builder().Reshape(y, split);
    y = c.builder().Reshape(c.Add("Pad", {y, c.model().Int64s(split_pads), value}), wide);
  }
  if (std::ranges::all_of(pads, [](int64_t pad) { return pad == 0; })) return y;
  return c.Add("Pad", {y, c.model().Int64s(pads), value});
}

absl::StatusOr<std::string_view> Combination(OperatorContext& c, int graph) {
  const auto& graphs = c.conversion().source.graphs;
  if (graph < 0 || static_cast<size_t>(graph) >= graphs.size())
    return c.Malformed("the graph that it names does not exist");
  const SourceGraph& body = graphs[graph];
  if (body.inputs.size() == 2 && body.outputs.size() == 1) {
    if (body.operators.empty() && body.outputs[0] == body.inputs[1]) return std::string_view();
    if (body.operators.size() == 1 && body.operators[0].outputs == body.outputs &&
        std::ranges::is_permutation(body.operators[0].inputs, body.inputs)) {
      const SourceOperator& op = body.operators[0];
      const auto* add = op.table->builtin_options_as_AddOptions();
      const auto* multiply = op.table->builtin_options_as_MulOptions();
      constexpr auto kNone = schema::ActivationFunctionType::NONE;
      const bool plain = (add == nullptr || add->fused_activation_function() == kNone) &&
                         (multiply == nullptr || multiply->fused_activation_function() == kNone);
      switch (plain ? op.code : BuiltinOperator::CUSTOM) {
        case BuiltinOperator::ADD:
        case BuiltinOperator::STABLEHLO_ADD:
          return "Add";
        case BuiltinOperator::MUL:
        case BuiltinOperator::STABLEHLO_MULTIPLY:
          return "Mul";
        case BuiltinOperator::MAXIMUM:
        case BuiltinOperator::STABLEHLO_MAXIMUM:
          return "Max";
        case BuiltinOperator::MINIMUM:
        case BuiltinOperator::STABLEHLO_MINIMUM:
          return "Min";
        case BuiltinOperator::LOGICAL_AND:
        case BuiltinOperator::STABLEHLO_AND:
          return "And";
        case BuiltinOperator::LOGICAL_OR:
        case BuiltinOperator::STABLEHLO_OR:
          return "Or";
        default:
          break;
      }
    }
  }
  return c.Unsupported(
      "the graph that combines its elements is not one addition, multiplication, "
      "maximum, minimum, and, or",
      "export the model with TensorFlow Lite's own operators");
}

}  // namespace modelpress::tflite
