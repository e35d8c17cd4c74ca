// LSTM, GRU and RNN, step by step. Formulas and weight layouts: ONNX operator specification.
#include "core/trainer/operator.h"

namespace modelpress::trainer {
namespace {

using Function = at::Tensor (*)(const at::Tensor&);

Function ActivationOf(const std::string& name) {
  if (name == "Sigmoid") return at::sigmoid;
  if (name == "Tanh") return at::tanh;
  if (name == "Relu") return at::relu;
  if (name == "Softsign") return [](const at::Tensor& x) { return x / (1 + at::abs(x)); };
  if (name == "Softplus") return [](const at::Tensor& x) { return at::softplus(x, 1, 30); };
  throw OperatorError("activation " + name + " is not known here");
}

// One direction's tensors; the first axis (directions) is gone.
struct Direction {
  at::Tensor weight, recurrent, input_bias, recurrent_bias, peepholes;
  std::vector<Function> functions;
  double clip = 0;

  at::Tensor Clipped(const at::Tensor& x) const { return clip > 0 ? at::clamp(x, -clip, clip) : x; }
};

struct State {
  at::Tensor hidden, cell;
};

// `x`: this step's W x + Wb, all gates.
State LstmStep(const Direction& d, const at::Tensor& x, const State& before, bool coupled) {
  const at::Tensor all = x + at::matmul(before.hidden, d.recurrent.t()) + d.recurrent_bias;
  const auto gates = at::chunk(all, 4, -1);  // i, o, f, c
  at::Tensor input = gates[0], output = gates[1], forget = gates[2];
  Tensors peepholes;
  if (d.peepholes.defined()) {
    peepholes = at::chunk(d.peepholes, 3, -1);  // i, o, f
    input = input + peepholes[0] * before.cell;
    forget = forget + peepholes[2] * before.cell;
  }
  input = d.functions[0](d.Clipped(input));
  forget = coupled ? 1 - input : d.functions[0](d.Clipped(forget));
  const at::Tensor cell = forget * before.cell + input * d.functions[1](d.Clipped(gates[3]));
  if (d.peepholes.defined()) output = output + peepholes[1] * cell;
  return {d.functions[0](d.Clipped(output)) * d.functions[2](cell), cell};
}

State GruStep(const Direction& d, const at::Tensor& x, const State& before, bool after_reset) {
  const auto inputs = at::chunk(x, 3, -1);  // z, r, h
  const auto recurrent = at::chunk(d.recurrent, 3, 0);
  const auto bias = at::chunk(d.recurrent_bias, 3, -1);
  const auto product = [&](int gate, const at::Tensor& hidden) {
    return at::matmul(hidden, recurrent[gate].t());
  };
  const at::Tensor update =
      d.functions[0](d.Clipped(inputs[0] + product(0, before.hidden) + bias[0]));
  const at::Tensor reset =
      d.functions[0](d.Clipped(inputs[1] + product(1, before.hidden) + bias[1]));
  const at::Tensor inner = after_reset ? reset * (product(2, before.hidden) + bias[2])
                                       : product(2, reset * before.hidden) + bias[2];
  const at::Tensor candidate = d.functions[1](d.Clipped(inputs[2] + inner));
  return {(1 - update) * candidate + update * before.hidden, {}};
}

State RnnStep(const Direction& d, const at::Tensor& x, const State& before) {
  return {
      d.functions[0](d.Clipped(x + at::matmul(before.hidden, d.recurrent.t()) + d.recurrent_bias)),
      {}};
}

// X, W, R, B, sequence_lens, initial_h [, initial_c, P]; Y, Y_h [, Y_c].
Tensors Recurrent(const OperatorCall& call, int64_t gates, std::vector<std::string> defaults) {
  const std::string& type = call.node().op_type();
  const bool lstm = type == "LSTM";
  const bool batch_first = call.Int("layout", 0) != 0;
  const at::Tensor x = batch_first ? call[0].transpose(0, 1) : call[0];  // [time, batch, inputs]
  const int64_t steps = x.size(0), batch = x.size(1), directions = call[1].size(0);
  const int64_t hidden = call[2].size(2);
  const std::string direction = call.String("direction", "forward");
  if (call.HasAttribute("activation_alpha") || call.HasAttribute("activation_beta")) {
    throw OperatorError("activations with parameters are not known here");
  }
  std::vector<std::string> activations = call.Strings("activations");
  if (activations.empty()) {
    for (int64_t i = 0; i < directions; ++i) {
      activations.insert(activations.end(), defaults.begin(), defaults.end());
    }
  }
  if (activations.size() != defaults.size() * static_cast<size_t>(directions)) {
    throw OperatorError("the number of activations does not fit the directions");
  }
  const auto initial = [&](size_t input, int64_t d) {
    if (!call.Has(input)) return at::zeros({batch, hidden}, x.options());
    return batch_first ? call[input].select(1, d) : call[input].select(0, d);
  };
  // [batch, 1]: beyond its length a sequence keeps its state and its outputs are 0.
  const at::Tensor lengths = call.Has(4) ? call[4].to(at::kLong).view({-1, 1}) : at::Tensor();

  Tensors outputs, last_hidden, last_cell;
  for (int64_t d = 0; d < directions; ++d) {
    Direction one{.weight = call[1].select(0, d), .recurrent = call[2].select(0, d)};
    if (call.Has(3)) {
      const auto halves = at::chunk(call[3].select(0, d), 2, -1);
      one.input_bias = halves[0];
      one.recurrent_bias = halves[1];
    } else {
      one.recurrent_bias = at::zeros({gates * hidden}, x.options());
    }
    if (lstm && call.Has(7)) one.peepholes = call[7].select(0, d);
    for (size_t i = 0; i < defaults.size(); ++i) {
      one.functions.push_back(
          ActivationOf(activations[static_cast<size_t>(d) * defaults.size() + i]));
    }
    one.clip = call.Float("clip", 0);
    at::Tensor projected = at::matmul(x, one.weight.t());
    if (one.input_bias.defined()) projected = projected + one.input_bias;
    State state{initial(5, d), lstm ? initial(6, d) : at::Tensor()};
    Tensors made(static_cast<size_t>(steps));
    const bool reverse = direction == "reverse" || d == 1;
    for (int64_t i = 0; i < steps; ++i) {
      const int64_t t = reverse ? steps - 1 - i : i;
      const at::Tensor now = projected.select(0, t);
      State next = lstm ? LstmStep(one, now, state, call.Int("input_forget", 0) != 0)
                   : type == "GRU"
                       ? GruStep(one, now, state, call.Int("linear_before_reset", 0) != 0)
                       : RnnStep(one, now, state);
      if (lengths.defined()) {
        const at::Tensor runs = lengths > t;
        made[t] = at::where(runs, next.hidden, at::zeros_like(next.hidden));
        next.hidden = at::where(runs, next.hidden, state.hidden);
        if (lstm) next.cell = at::where(runs, next.cell, state.cell);
      } else {
        made[t] = next.hidden;
      }
      state = next;
    }
    outputs.push_back(at::stack(made));  // [time, batch, hidden]
    last_hidden.push_back(state.hidden);
    if (lstm) last_cell.push_back(state.cell);
  }
  at::Tensor y = at::stack(outputs, 1);  // [time, directions, batch, hidden]
  const int64_t direction_axis = batch_first ? 1 : 0;
  if (batch_first) y = y.permute({2, 0, 1, 3});
  Tensors result = {y, at::stack(last_hidden, direction_axis)};
  if (lstm) result.push_back(at::stack(last_cell, direction_axis));
  return result;
}

Tensors Lstm(const OperatorCall& call) { return Recurrent(call, 4, {"Sigmoid", "Tanh", "Tanh"}); }
Tensors Gru(const OperatorCall& call) { return Recurrent(call, 3, {"Sigmoid", "Tanh"}); }
Tensors Rnn(const OperatorCall& call) { return Recurrent(call, 1, {"Tanh"}); }

}  // namespace

void RegisterOperators_recurrent(OperatorRegistry& registry) {
  registry.Add("LSTM", Lstm);
  registry.Add("GRU", Gru);
  registry.Add("RNN", Rnn);
}

}  // namespace modelpress::trainer
