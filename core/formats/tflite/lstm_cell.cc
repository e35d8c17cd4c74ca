// The cell of an LSTM: see lstm_cell.h.
#include "core/formats/tflite/lstm_cell.h"

namespace modelpress::tflite {
namespace {

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

}  // namespace

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

bool HasPeephole(const OperatorContext& c, const Gates& gates) { return c.Has(gates.peephole[1]); }
bool IsNormalized(const OperatorContext& c, const Gates& gates) {
  return !gates.normalization.empty() && c.Has(gates.normalization[1]);
}

absl::StatusOr<StepWeights> ReadWeights(OperatorContext& c, const Gates& gates) {
  StepWeights weights;
  for (int i = 0; i < 4; ++i) {
    MP_ASSIGN_OR_RETURN(std::string input, c.In(gates.input[i]));
    if (!gates.auxiliary.empty() && !input.empty()) {
      MP_ASSIGN_OR_RETURN(const std::string further, c.In(gates.auxiliary[i]));
      input = c.Add("Concat", {input, further}, {{"axis", int64_t{1}}});
    }
    weights.input.push_back(std::move(input));
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

absl::StatusOr<std::string> ScanSteps(OperatorContext& c, const Gates& gates, const Clips& clips,
                                      const std::string& x, bool time_major, bool backward) {
  MP_ASSIGN_OR_RETURN(const StepWeights weights, ReadWeights(c, gates));
  const int64_t cells = c.Source(gates.input[1]).shape[0],
                outputs = c.Source(gates.recurrent[1]).shape[1];
  const int64_t features = c.Source(gates.input[1]).shape[1] +
                           (gates.auxiliary.empty() ? 0 : c.Source(gates.auxiliary[1]).shape[1]);
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

}  // namespace modelpress::tflite
