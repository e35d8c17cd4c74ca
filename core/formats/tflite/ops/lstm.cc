// LSTM: UNIDIRECTIONAL_SEQUENCE_LSTM (versions 1 to 4), BIDIRECTIONAL_SEQUENCE_LSTM (1 to 3), LSTM (full kernel, 1 to 4);
// float32, int8 weights, int8 and int16 activations through real numbers.
//
//   sequences -> LSTM, gates from i, f, c, o to ONNX's i, o, f, c, time first (Transposes around it where the batch is)
//   with a projection, a cell that may reach its clip, layer normalization or coupled gates, which ONNX's LSTM does not have, -> Scan over
//     the steps
//   LSTM (one step) -> that step; its two states are inputs that are zeros by default, and outputs
// Sequences start from zeros: the states that the source keeps between inferences are not handed on.
#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "core/formats/tflite/recurrent.h"

namespace modelpress::tflite {
namespace {

// Input numbers of one direction.
struct Gates {
  std::vector<int> input, recurrent, bias;  // i, f, c, o
  std::vector<int> peephole;                // i, f, o
  std::vector<int> normalization;           // i, f, c, o
  int projection = -1, projection_bias = -1, output_state = -1, cell_state = -1;
};

Gates GatesFrom(int weights, int peephole, int bias, int projection, int output_state,
                int cell_state, int normalization) {
  Gates gates;
  for (int i = 0; i < 4; ++i) {
    gates.input.push_back(weights + i);
    gates.recurrent.push_back(weights + 4 + i);
    gates.bias.push_back(bias + i);
    if (normalization >= 0) gates.normalization.push_back(normalization + i);
    if (i < 3) gates.peephole.push_back(peephole + i);
  }
  gates.projection = projection;
  gates.projection_bias = projection + 1;
  gates.output_state = output_state;
  gates.cell_state = cell_state;
  return gates;
}

// ONNX's order of what comes in the order i, f, c, o.
std::vector<int> Reordered(const std::vector<int>& gates) {
  return {gates[0], gates[3], gates[1], gates[2]};
}

bool HasPeephole(const OperatorContext& c, const Gates& gates) { return c.Has(gates.peephole[1]); }
bool IsNormalized(const OperatorContext& c, const Gates& gates) {
  return !gates.normalization.empty() && c.Has(gates.normalization[1]);
}

absl::StatusOr<std::string> Activated(OperatorContext& c, import::GraphBuilder& b,
                                      const std::string& x,
                                      schema::ActivationFunctionType activation) {
  using schema::ActivationFunctionType;
  switch (activation) {
    case ActivationFunctionType::NONE:
      return x;
    case ActivationFunctionType::TANH:
      return b.Add("Tanh", {x});
    case ActivationFunctionType::RELU:
      return b.Add("Relu", {x});
    case ActivationFunctionType::RELU6:
      return b.Add("Clip", {x, c.model().Float(0), c.model().Float(6)});
    default:
      return c.Unsupported("its activation is not known");
  }
}

struct Cell {
  std::string output, state;
};

// The weights of a step in real numbers, made outside of the loop.
struct StepWeights {
  Names input, recurrent, bias, peephole, normalization;  // "" where absent
  std::string projection, projection_bias;
};

absl::StatusOr<StepWeights> ReadWeights(OperatorContext& c, const Gates& gates) {
  StepWeights weights;
  for (int i = 0; i < 4; ++i) {
    MP_ASSIGN_OR_RETURN(weights.input.emplace_back(), c.In(gates.input[i]));
    MP_ASSIGN_OR_RETURN(weights.recurrent.emplace_back(), c.In(gates.recurrent[i]));
    MP_ASSIGN_OR_RETURN(weights.bias.emplace_back(), c.Bias(gates.bias[i], 0, gates.input[i]));
    weights.normalization.emplace_back();
    if (IsNormalized(c, gates)) {
      MP_ASSIGN_OR_RETURN(weights.normalization[i], c.In(gates.normalization[i]));
    }
    if (i < 3) {
      MP_ASSIGN_OR_RETURN(weights.peephole.emplace_back(), c.In(gates.peephole[i]));
    }
  }
  MP_ASSIGN_OR_RETURN(weights.projection, c.In(gates.projection));
  MP_ASSIGN_OR_RETURN(weights.projection_bias, c.In(gates.projection_bias));
  return weights;
}

struct Clips {
  float cell = 0, projection = 0;
  schema::ActivationFunctionType activation = schema::ActivationFunctionType::TANH;
};

// One step of the cell (Hochreiter and Schmidhuber 1997, with peepholes of Gers et al. 2002 and the projection of Sak et
// al. 2014), from x [batch, input], h [batch, output], s [batch, cell].
absl::StatusOr<Cell> Step(OperatorContext& c, import::GraphBuilder& b, const StepWeights& w,
                          const Clips& clips, const std::string& x, const std::string& h,
                          const std::string& s) {
  import::ModelBuilder& model = c.model();
  const auto gate = [&](int i, const std::string& cell, int peephole) {
    const bool normalized = !w.normalization[i].empty();
    std::string sum =
        b.Add("Gemm", {x, w.input[i], normalized ? "" : w.bias[i]}, {{"transB", int64_t{1}}});
    sum = b.Add("Gemm", {h, w.recurrent[i], sum}, {{"transB", int64_t{1}}});
    if (peephole >= 0 && !w.peephole[peephole].empty())
      sum = b.Add("Add", {sum, b.Add("Mul", {cell, w.peephole[peephole]})});
    if (!normalized) return sum;
    return b.Add("LayerNormalization", {sum, w.normalization[i], w.bias[i]}, {{"epsilon", 1e-8f}});
  };
  const std::string forget = b.Add("Sigmoid", {gate(1, s, 1)});
  const std::string input = w.input[0].empty() ? b.Add("Sub", {model.Float(1), forget})
                                               : b.Add("Sigmoid", {gate(0, s, 0)});
  MP_ASSIGN_OR_RETURN(const std::string update, Activated(c, b, gate(2, s, -1), clips.activation));
  std::string state = b.Add("Add", {b.Add("Mul", {forget, s}), b.Add("Mul", {input, update})});
  if (clips.cell > 0)
    state = b.Add("Clip", {state, model.Float(-clips.cell), model.Float(clips.cell)});
  const std::string output = b.Add("Sigmoid", {gate(3, state, 2)});
  MP_ASSIGN_OR_RETURN(const std::string activated, Activated(c, b, state, clips.activation));
  std::string result = b.Add("Mul", {output, activated});
  if (!w.projection.empty()) {
    result = b.Add("Gemm", {result, w.projection, w.projection_bias}, {{"transB", int64_t{1}}});
    if (clips.projection > 0)
      result =
          b.Add("Clip", {result, model.Float(-clips.projection), model.Float(clips.projection)});
  }
  return Cell{result, state};
}

// Zeros [batch, width], the batch taken from x where it is not known.
std::string Zeros(OperatorContext& c, const std::string& x, int64_t batch, int batch_axis,
                  int64_t width) {
  import::ModelBuilder& model = c.model();
  if (batch > 0) {
    const std::vector<float> zeros(batch * width, 0.0f);
    const int64_t dims[] = {batch, width};
    return model.Floats(zeros, dims);
  }
  const std::string extent =
      c.builder().Slice(c.Add("Shape", {x}), {batch_axis}, {batch_axis + 1}, {0});
  return c.Add("Expand", {model.Float(0), c.Add("Concat", {extent, model.Int64s({width})},
                                                {{"axis", int64_t{0}}})});
}

absl::StatusOr<std::string> ScanSteps(OperatorContext& c, const Gates& gates, const Clips& clips,
                                      const std::string& x, bool time_major, bool backward) {
  MP_ASSIGN_OR_RETURN(const StepWeights weights, ReadWeights(c, gates));
  const int64_t cells = c.Source(gates.input[1]).shape[0],
                outputs = c.Source(gates.recurrent[1]).shape[1];
  const int64_t features = c.Source(gates.input[1]).shape[1];
  const int batch_axis = time_major ? 1 : 0;
  const int64_t batch = c.Source(0).shape[batch_axis];
  onnx::GraphProto graph;
  graph.set_name(c.builder().scope() + "/step");
  import::GraphBuilder b(&c.model(), &graph);
  b.SetScope(graph.name());
  const auto declare = [&](onnx::ValueInfoProto* value, const std::string& name, int64_t width) {
    value->set_name(name);
    auto* type = value->mutable_type()->mutable_tensor_type();
    type->set_elem_type(onnx::TensorProto::FLOAT);
    if (batch > 0) {
      type->mutable_shape()->add_dim()->set_dim_value(batch);
    } else {
      type->mutable_shape()->add_dim();
    }
    type->mutable_shape()->add_dim()->set_dim_value(width);
  };
  const std::string h = c.model().UniqueValue(graph.name() + "/h"),
                    s = c.model().UniqueValue(graph.name() + "/c");
  const std::string step = c.model().UniqueValue(graph.name() + "/x");
  declare(graph.add_input(), h, outputs);
  declare(graph.add_input(), s, cells);
  declare(graph.add_input(), step, features);
  MP_ASSIGN_OR_RETURN(const Cell cell, Step(c, b, weights, clips, step, h, s));
  const std::string copy = b.Add("Identity", {cell.output});
  declare(graph.add_output(), cell.output, outputs);
  declare(graph.add_output(), cell.state, cells);
  declare(graph.add_output(), copy, outputs);
  const int64_t axis = time_major ? 0 : 1, direction = backward ? 1 : 0;
  const Names made = c.builder().AddMany(
      "Scan", {Zeros(c, x, batch, batch_axis, outputs), Zeros(c, x, batch, batch_axis, cells), x},
      {{"body", std::move(graph)},
       {"num_scan_inputs", int64_t{1}},
       {"scan_input_axes", std::vector<int64_t>{axis}},
       {"scan_output_axes", std::vector<int64_t>{axis}},
       {"scan_input_directions", std::vector<int64_t>{direction}},
       {"scan_output_directions", std::vector<int64_t>{direction}}},
      3);
  return made[2];
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
    return c.Unsupported("its recurrent weights are diagonals");
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

absl::Status Bidirectional(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  const auto& options = c.Options<schema::BidirectionalSequenceLSTMOptions>();
  for (int i = 39; i < 48; ++i) {
    if (c.Has(i)) return c.Unsupported("it has an auxiliary input");
  }
  const std::vector<Gates> directions = {GatesFrom(1, 9, 12, 16, 35, 36, -1),
                                         GatesFrom(18, 26, 29, 33, 37, 38, -1)};
  const Clips clips{options.cell_clip(), options.proj_clip(), options.fused_activation_function()};
  for (const Gates& gates : directions) MP_RETURN_IF_ERROR(CheckShapes(c, gates, 3));
  MP_ASSIGN_OR_RETURN(std::string x, c.In(0));
  NoteZeroStart(c);
  const bool time_major = options.time_major();
  if (NeedsScan(c, directions[0], clips, time_major) ||
      NeedsScan(c, directions[1], clips, time_major) || c.Source(1).shape != c.Source(18).shape) {
    Names sides;
    for (int side = 0; side < 2; ++side) {
      MP_ASSIGN_OR_RETURN(sides.emplace_back(),
                          ScanSteps(c, directions[side], clips, x, time_major, side == 1));
    }
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
    return c.Unsupported("its kernel is the basic one");
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
