// LSTM: UNIDIRECTIONAL_SEQUENCE_LSTM (versions 1 to 4), BIDIRECTIONAL_SEQUENCE_LSTM (1 to 3), LSTM (full kernel, 1 to 4);
// float32, int8 weights, int8 and int16 activations through real numbers.
//
//   sequences -> LSTM, gates from i, f, c, o to ONNX's i, o, f, c, time first (Transposes around it where the batch is)
//   with a projection, a cell that may reach its clip, layer normalization or coupled gates, which ONNX's LSTM does not have, -> Scan over
//     the steps; and so with an auxiliary input, which both directions read beside the input if it has weights, else the
//     backward one in place of it
//   LSTM (one step) -> that step; its two states are inputs that are zeros by default, and outputs
// Sequences start from zeros: the states that the source keeps between inferences are not handed on.
#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "core/formats/tflite/lstm_cell.h"

namespace modelpress::tflite {
namespace {

// ONNX's order of what comes in the order i, f, c, o.
std::vector<int> Reordered(const std::vector<int>& gates) {
  return {gates[0], gates[3], gates[1], gates[2]};
}

// Each step adds less than 1 to a cell that starts from 0, if its update is a tanh.
bool ReachesClip(const OperatorContext& c, const Clips& clips, bool time_major) {
  const int64_t steps = c.Source(0).shape[time_major ? 0 : 1];
  const bool bounded = clips.activation == schema::ActivationFunctionType::TANH;
  return clips.cell > 0 && !(bounded && steps >= 0 && static_cast<double>(steps) <= clips.cell);
}

bool NeedsScan(const OperatorContext& c, const Gates& gates, const Clips& clips, bool time_major) {
  return c.Has(gates.projection) || IsNormalized(c, gates) || ReachesClip(c, clips, time_major) ||
         !c.Has(gates.input[0]);
}

absl::Status CheckShapes(OperatorContext& c, const Gates& gates, int rank) {
  MP_ASSIGN_OR_RETURN(const int input, c.KnownRank(0));
  if (input != rank) return c.Malformed("its input has another rank than it needs");
  for (int i = 1; i < 4; ++i) {
    for (const int weight : {gates.input[i], gates.recurrent[i]}) {
      if (!c.Has(weight) || !c.Source(weight).is_static() || c.Source(weight).shape.size() != 2) {
        return c.Unsupported("its weights are no matrices of known shape");
      }
    }
  }
  MP_RETURN_IF_ERROR(c.Limit(c.Source(gates.input[1]).shape[0], 16));
  for (const int64_t extent : c.Source(0).shape) {
    MP_RETURN_IF_ERROR(c.Limit(
        std::max<int64_t>(extent, 0),
        std::max(c.Source(gates.input[1]).shape[0], c.Source(gates.recurrent[1]).shape[1])));
  }
  return absl::OkStatus();
}

// The runtime's operator over the directions; [time, directions, batch, cells].
absl::StatusOr<std::string> Fused(OperatorContext& c, const std::vector<Gates>& directions,
                                  const Clips& clips, const std::string& x,
                                  std::string_view direction) {
  std::vector<std::vector<int>> input, recurrent, bias, peephole;
  for (const Gates& gates : directions) {
    input.push_back(Reordered(gates.input));
    recurrent.push_back(Reordered(gates.recurrent));
    bias.push_back(Reordered(gates.bias));
    peephole.push_back({gates.peephole[0], gates.peephole[2], gates.peephole[1]});
  }
  MP_ASSIGN_OR_RETURN(const std::string w, StackGates(c, input, "W"));
  MP_ASSIGN_OR_RETURN(const std::string r, StackGates(c, recurrent, "R"));
  MP_ASSIGN_OR_RETURN(std::string b, StackGates(c, bias, "B"));
  const int64_t cells = c.Source(directions[0].input[1]).shape[0],
                count = static_cast<int64_t>(directions.size());
  // ONNX has a bias for the input and one for the recurrence.
  const std::vector<float> zeros(4 * cells * count, 0.0f);
  const int64_t dims[] = {count, 4 * cells};
  const std::string none = c.model().Floats(zeros, dims);
  const onnx::TensorProto* constant = c.model().FindConstant(b);
  if (constant != nullptr) {
    MP_ASSIGN_OR_RETURN(const auto bytes, c.model().model().Bytes(*constant));
    std::vector<float> both(8 * cells * count, 0.0f);
    for (int64_t d = 0; d < count; ++d) {
      std::memcpy(both.data() + d * 8 * cells, bytes.data() + d * 4 * cells * 4,
                  static_cast<size_t>(4 * cells) * 4);
    }
    const int64_t wide[] = {count, 8 * cells};
    MP_ASSIGN_OR_RETURN(b, c.model().Weight(c.builder().scope() + "/bias", DataType::kFloat, wide,
                                            std::as_bytes(std::span(both))));
  } else {
    b = c.Add("Concat", {b, none}, {{"axis", int64_t{1}}});
  }
  std::string p;
  if (HasPeephole(c, directions[0])) {
    MP_ASSIGN_OR_RETURN(p, StackGates(c, peephole, "P"));
  }
  MP_ASSIGN_OR_RETURN(const std::string activation, RecurrentActivation(c, clips.activation));
  Attributes attributes = {{"hidden_size", cells}};
  if (direction != "forward") attributes.push_back({"direction", std::string(direction)});
  if (activation != "Tanh") {
    std::vector<std::string> names;
    for (size_t d = 0; d < directions.size(); ++d)
      names.insert(names.end(), {"Sigmoid", activation, activation});
    attributes.push_back({"activations", names});
  }
  return c.Add("LSTM", {x, w, r, b, "", "", "", p}, std::move(attributes));
}

absl::Status Sequence(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  const auto& options = c.Options<schema::UnidirectionalSequenceLSTMOptions>();
  if (options.diagonal_recurrent_tensors())
    return c.Unsupported("its recurrent weights are diagonals",
                         "export the layer without diagonal_recurrent_tensors");
  const Gates gates = GatesFrom(1, 9, 12, 16, 18, 19, 20);
  const Clips clips{options.cell_clip(), options.proj_clip(), options.fused_activation_function()};
  MP_RETURN_IF_ERROR(CheckShapes(c, gates, 3));
  NoteZeroStart(c);
  MP_ASSIGN_OR_RETURN(std::string x, c.In(0));
  if (NeedsScan(c, gates, clips, options.time_major())) {
    MP_ASSIGN_OR_RETURN(const std::string y,
                        ScanSteps(c, gates, clips, x, options.time_major(), /*backward=*/false));
    return c.Out(0, y);
  }
  if (!options.time_major()) x = c.builder().Transpose(x, {1, 0, 2});
  MP_ASSIGN_OR_RETURN(std::string y, Fused(c, {gates}, clips, x, "forward"));
  y = c.Add("Squeeze", {y, c.model().Int64s({1})});
  if (!options.time_major()) y = c.builder().Transpose(y, {1, 0, 2});
  return c.Out(0, y);
}

// The weights of the auxiliary input, for each direction those of the gates that it has.
absl::Status AddAuxiliary(OperatorContext& c, std::vector<Gates>* directions) {
  int first = 40;
  for (Gates& gates : *directions) {
    for (int i = 0; i < 4; ++i, ++first) {
      gates.auxiliary.push_back(first);
      if (!c.Has(gates.input[i])) continue;
      if (!c.Has(first) || !c.Source(first).is_static() || c.Source(first).shape.size() != 2 ||
          c.Source(first).shape[0] != c.Source(gates.input[i]).shape[0] ||
          c.Source(first).shape[1] != c.Source(41).shape[1]) {
        return c.Unsupported("its auxiliary weights are no matrices that fit its cells");
      }
    }
  }
  return absl::OkStatus();
}

absl::Status Bidirectional(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  const auto& options = c.Options<schema::BidirectionalSequenceLSTMOptions>();
  std::vector<Gates> directions = {GatesFrom(1, 9, 12, 16, 35, 36, -1),
                                   GatesFrom(18, 26, 29, 33, 37, 38, -1)};
  const Clips clips{options.cell_clip(), options.proj_clip(), options.fused_activation_function()};
  for (const Gates& gates : directions) MP_RETURN_IF_ERROR(CheckShapes(c, gates, 3));
  MP_ASSIGN_OR_RETURN(std::string x, c.In(0));
  NoteZeroStart(c);
  const bool time_major = options.time_major();
  MP_ASSIGN_OR_RETURN(std::string backward, c.In(39));
  if (c.Has(39) && c.Has(41)) {
    MP_RETURN_IF_ERROR(AddAuxiliary(c, &directions));
    x = c.Add("Concat", {x, backward}, {{"axis", int64_t{2}}});
    backward.clear();
  }
  if (c.Has(39) || NeedsScan(c, directions[0], clips, time_major) ||
      NeedsScan(c, directions[1], clips, time_major) || c.Source(1).shape != c.Source(18).shape) {
    Names sides;
    MP_ASSIGN_OR_RETURN(sides.emplace_back(),
                        ScanSteps(c, directions[0], clips, x, time_major, /*backward=*/false));
    MP_ASSIGN_OR_RETURN(sides.emplace_back(),
                        ScanSteps(c, directions[1], clips, backward.empty() ? x : backward,
                                  time_major, /*backward=*/true));
    if (options.merge_outputs()) return c.Out(0, c.Add("Concat", sides, {{"axis", int64_t{2}}}));
    MP_RETURN_IF_ERROR(c.Out(0, sides[0]));
    return c.output_count() > 1 ? c.Out(1, sides[1]) : absl::OkStatus();
  }
  if (!time_major) x = c.builder().Transpose(x, {1, 0, 2});
  MP_ASSIGN_OR_RETURN(const std::string y, Fused(c, directions, clips, x, "bidirectional"));
  if (options.merge_outputs()) {
    // [time, 2, batch, cells] -> [.., .., 2 * cells]
    const int64_t cells = c.Source(2).shape[0];
    const std::string turned = c.builder().Transpose(
        y, time_major ? std::vector<int64_t>{0, 2, 1, 3} : std::vector<int64_t>{2, 0, 1, 3});
    return c.Out(0, c.builder().Reshape(turned, {0, 0, 2 * cells}, /*copy_zeros=*/true));
  }
  for (int side = 0; side < 2 && side < c.output_count(); ++side) {
    std::string part = c.Add("Gather", {y, c.model().Int64(side)}, {{"axis", int64_t{1}}});
    if (!time_major) part = c.builder().Transpose(part, {1, 0, 2});
    MP_RETURN_IF_ERROR(c.Out(side, part));
  }
  return absl::OkStatus();
}

absl::Status OneStep(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  const auto& options = c.Options<schema::LSTMOptions>();
  if (options.kernel_type() != schema::LSTMKernelType::FULL || c.input_count() < 20) {
    return c.Unsupported(
        "its kernel is the basic one",
        "export the layer with a newer converter, as UNIDIRECTIONAL_SEQUENCE_LSTM");
  }
  const Gates gates = GatesFrom(1, 9, 12, 16, 18, 19, c.input_count() > 20 ? 20 : -1);
  const Clips clips{options.cell_clip(), options.proj_clip(), options.fused_activation_function()};
  MP_RETURN_IF_ERROR(CheckShapes(c, gates, 2));
  MP_ASSIGN_OR_RETURN(const StepWeights weights, ReadWeights(c, gates));
  MP_ASSIGN_OR_RETURN(const std::string x, c.In(0));
  MP_ASSIGN_OR_RETURN(const std::string h, StateInput(c, gates.output_state));
  MP_ASSIGN_OR_RETURN(const std::string s, StateInput(c, gates.cell_state));
  MP_ASSIGN_OR_RETURN(const Cell cell, Step(c, c.builder(), weights, clips, x, h, s));
  MP_RETURN_IF_ERROR(StateOutput(c, gates.cell_state, cell.state));
  const std::string next = c.Add("Identity", {cell.output});
  MP_RETURN_IF_ERROR(StateOutput(c, gates.output_state, next));
  return c.Out(0, cell.output);
}

}  // namespace

void RegisterTfliteOperators_lstm(OperatorRegistry& registry) {
  registry.Add(BuiltinOperator::UNIDIRECTIONAL_SEQUENCE_LSTM, Sequence);
  registry.Add(BuiltinOperator::BIDIRECTIONAL_SEQUENCE_LSTM, Bidirectional);
  registry.Add(BuiltinOperator::LSTM, OneStep);
}

}  // namespace modelpress::tflite
