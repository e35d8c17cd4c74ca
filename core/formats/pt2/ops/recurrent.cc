// Recurrent layers and cells.
//
//   lstm, gru, rnn_tanh, rnn_relu -> LSTM, GRU, RNN, one node for each layer. Gates are put into ONNX's order (LSTM i f g o
//     -> i o f g, GRU r z n -> z r n, with linear_before_reset); constant weights are put together here, others by nodes.
//   lstm with projections (proj_size) -> Scan over a cell made of Gemm and elementwise operators
//   lstm_cell, gru_cell, rnn_tanh_cell, rnn_relu_cell -> Gemm and elementwise operators
// Dropout between layers must not be training.
#include <algorithm>
#include <cstring>

#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {
namespace {

struct Cell {
  const char* op;
  Ints gates;  // the source's gate at each place of ONNX's order
};

Cell CellOf(std::string_view name) {
  if (name.starts_with("lstm")) return {"LSTM", {0, 3, 1, 2}};
  if (name.starts_with("gru")) return {"GRU", {1, 0, 2}};
  return {"RNN", {0}};
}

// Weights of one direction of one layer, by name in the graph; "" for what there is none of.
struct Direction {
  std::string w_ih, w_hh, b_ih, b_hh, w_hr;
};

// The gates of a tensor [gates * hidden, ...] in another order, as values.
std::string Reordered(OperatorContext& c, const std::string& value, const Ints& gates,
                      int64_t hidden) {
  if (gates.size() == 1) return value;
  Names parts;
  for (const int64_t gate : gates)
    parts.push_back(c.Slice(value, 0, gate * hidden, (gate + 1) * hidden));
  return c.Concat(std::move(parts), 0);
}

// Tensors [gates * hidden, ...] of all directions, their gates reordered, side by side along a new first axis. Each entry
// is a list of tensors that stand one after the other (both biases).
std::string Together(OperatorContext& c, const std::vector<std::vector<std::string>>& directions,
                     const Ints& gates, int64_t hidden, DataType type) {
  // As one constant, if all of it is constant and of the type that is computed in.
  uint64_t bytes = 0;
  bool constant = true;
  std::string name;
  Ints dims = {static_cast<int64_t>(directions.size()), 0};
  for (const auto& tensors : directions) {
    dims[1] = 0;
    for (const std::string& tensor : tensors) {
      const NamedTensor* weight = c.scope().Weight(tensor);
      constant &= weight != nullptr && weight->type == type && !weight->dims.empty() &&
                  weight->dims[0] == static_cast<int64_t>(gates.size()) * hidden;
      if (!constant) break;
      if (name.empty()) name = weight->name;
      dims.resize(2);
      dims[1] += weight->dims[0];
      dims.insert(dims.end(), weight->dims.begin() + 1, weight->dims.end());
      bytes += weight->data.length;
    }
  }
  if (constant) {
    absl::StatusOr<WeightArena::Room> room = c.model().arena().Allocate(bytes);
    if (!room.ok()) {
      c.Fail(room.status());
      return "";
    }
    std::byte* to = room->bytes.data();
    for (const auto& tensors : directions) {
      for (const std::string& tensor : tensors) {
        const WeightRef& data = c.scope().Weight(tensor)->data;
        const uint64_t part = data.length / gates.size();
        for (const int64_t gate : gates) {
          if (part > 0)
            std::memcpy(to, data.bytes().data() + static_cast<uint64_t>(gate) * part, part);
          to += part;
        }
      }
    }
    absl::StatusOr<std::string> made = c.model().Weight(name, type, dims, room->weight);
    if (made.ok()) return *std::move(made);
    c.Fail(made.status());
    return "";
  }
  Names rows;
  for (const auto& tensors : directions) {
    Names parts;
    for (const std::string& tensor : tensors) {
      absl::StatusOr<std::string> value = c.scope().Value(tensor);
      if (!value.ok()) {
        c.Fail(value.status());
        return "";
      }
      parts.push_back(Reordered(c, c.Cast(*value, ToOnnxType(c.scope().Meta(tensor).type), type),
                                gates, hidden));
    }
    rows.push_back(c.Unsqueeze(c.Concat(std::move(parts), 0), {0}));
  }
  return c.Concat(std::move(rows), 0);
}

struct Layers {
  Cell cell;
  bool lstm = false, bidirectional = false, biases = false;
  int64_t count = 1, hidden = 0, projection = 0;
  std::vector<Direction> directions;  // layer by layer
};

bool ReadLayers(OperatorContext& c, Layers* layers) {
  layers->cell = CellOf(c.name());
  layers->lstm = c.name() == "lstm";
  layers->bidirectional = c.Bool("bidirectional", false);
  layers->biases = c.Bool("has_biases", true);
  layers->count = c.Int("num_layers", 1);
  const int64_t ways = layers->bidirectional ? 2 : 1;
  const std::vector<std::string>& params = c.List("params");
  if (layers->count < 1 || layers->count > 1024) {
    c.Malformed("its number of layers is absurd");
    return false;
  }
  const size_t total = static_cast<size_t>(layers->count * ways), plain = layers->biases ? 4 : 2;
  const bool projected = params.size() == total * (plain + 1);
  if (params.size() != total * plain && !projected) {
    c.Malformed("it has another number of weights than its layers need");
    return false;
  }
  size_t at = 0;
  for (size_t i = 0; i < total; ++i) {
    Direction direction;
    direction.w_ih = params[at++];
    direction.w_hh = params[at++];
    if (layers->biases) {
      direction.b_ih = params[at++];
      direction.b_hh = params[at++];
    }
    if (projected) direction.w_hr = params[at++];
    layers->directions.push_back(std::move(direction));
  }
  const TensorMeta& w = c.scope().Meta(layers->directions[0].w_hh);
  if (w.rank() != 2 || !w.is_static() ||
      *w.sizes[0].value % static_cast<int64_t>(layers->cell.gates.size()) != 0) {
    c.Malformed("its weights are no matrices of its gates");
    return false;
  }
  layers->hidden = *w.sizes[0].value / static_cast<int64_t>(layers->cell.gates.size());
  if (projected) layers->projection = *w.sizes[1].value;
  return true;
}

// y = x w^T + b of two tensors of the graph.
std::string Affine(OperatorContext& c, const std::string& x, const std::string& w,
                   const std::string& b, DataType type) {
  const auto value = [&](const std::string& name) -> std::string {
    absl::StatusOr<std::string> found = c.scope().Value(name);
    if (!found.ok()) {
      c.Fail(found.status());
      return "";
    }
    return c.Cast(*found, ToOnnxType(c.scope().Meta(name).type), type);
  };
  Names inputs = {x, value(w)};
  if (!b.empty()) inputs.push_back(value(b));
  return c.Add("Gemm", std::move(inputs), {{"transB", int64_t{1}}});
}

// One step of an LSTM without its projection: gates [batch, 4 * hidden] and the old cell -> new cell and what is shown.
std::pair<std::string, std::string> LstmStep(import::GraphBuilder& b, const std::string& gates,
                                             const std::string& cell) {
  const Names parts =
      b.AddMany("Split", {gates}, {{"axis", int64_t{1}}, {"num_outputs", int64_t{4}}}, 4);
  const std::string in = b.Add("Sigmoid", {parts[0]}), forget = b.Add("Sigmoid", {parts[1]});
  const std::string update = b.Add("Tanh", {parts[2]}), show = b.Add("Sigmoid", {parts[3]});
  const std::string next = b.Add("Add", {b.Add("Mul", {forget, cell}), b.Add("Mul", {in, update})});
  return {next, b.Add("Mul", {show, b.Add("Tanh", {next})})};
}

// A layer with a projection: Scan over time of h, c and x.
struct Scanned {
  std::string y, h, cell;
};
Scanned ProjectedLayer(OperatorContext& c, const Direction& direction, const std::string& x,
                       const std::string& h0, const std::string& c0, bool backwards,
                       DataType type) {
  onnx::GraphProto body;
  body.set_name(c.builder().scope() + "/step");
  import::GraphBuilder builder(&c.model(), &body);
  builder.SetScope(body.name());
  const auto value = [&](const std::string& name) -> std::string {
    absl::StatusOr<std::string> found = c.scope().Value(name);
    if (!found.ok()) c.Fail(found.status());
    return found.ok() ? *found : "";
  };
  const auto input = [&](const char* name) {
    onnx::ValueInfoProto* info = body.add_input();
    info->set_name(c.model().UniqueValue(body.name() + "/" + name));
    info->mutable_type()->mutable_tensor_type()->set_elem_type(static_cast<int32_t>(type));
    return info->name();
  };
  const std::string h = input("h"), cell = input("c"), step = input("x");
  const auto affine = [&](const std::string& v, const std::string& w, const std::string& bias) {
    Names inputs = {v, value(w)};
    if (!bias.empty()) inputs.push_back(value(bias));
    return builder.Add("Gemm", std::move(inputs), {{"transB", int64_t{1}}});
  };
  const std::string gates = builder.Add("Add", {affine(step, direction.w_ih, direction.b_ih),
                                                affine(h, direction.w_hh, direction.b_hh)});
  const auto [next, shown] = LstmStep(builder, gates, cell);
  const std::string projected =
      builder.Add("Gemm", {shown, value(direction.w_hr)}, {{"transB", int64_t{1}}});
  const std::string again = builder.Add("Identity", {projected});
  for (const std::string& name : {projected, next, again}) {
    onnx::ValueInfoProto* info = body.add_output();
    info->set_name(name);
    info->mutable_type()->mutable_tensor_type()->set_elem_type(static_cast<int32_t>(type));
  }
  const Ints way = {backwards ? 1 : 0};
  const Names made = c.builder().AddMany("Scan", {h0, c0, x},
                                         {{"body", std::move(body)},
                                          {"num_scan_inputs", int64_t{1}},
                                          {"scan_input_directions", way},
                                          {"scan_output_directions", way}},
                                         3);
  return {made[2], made[0], made[1]};
}

void Recurrent(OperatorContext& c) {
  Layers layers;
  if (c.Bool("train", false) && c.Float("dropout", 0) != 0) {
    return c.Refuse("it drops elements at random, as in training",
                    "export the module in eval mode");
  }
  if (c.overload() != "input")
    return c.Refuse("it takes packed sequences", "export the module with padded sequences");
  if (!ReadLayers(c, &layers)) return;
  const DataType type = FloatOnly(c.Target().type);
  const bool batch_first = c.Bool("batch_first", false);
  const int rank = c.Rank("input");
  if (rank != 3 && rank != 2)
    return c.Malformed("its input has other axes than time, batch and features");
  std::string x = c.InAs("input", type);
  Names states = layers.lstm ? c.ListAs("hx", type) : Names{c.InAs("hx", type)};
  if (states.size() != (layers.lstm ? 2u : 1u)) return c.Malformed("its states are missing");
  // ONNX starts from zeros by itself.
  const bool from_zeros =
      layers.projection == 0 &&
      std::ranges::all_of(states, [&](const std::string& state) { return c.IsZeros(state); });
  if (from_zeros) std::ranges::fill(states, std::string());
  const bool alone = rank == 2;  // no batch
  if (alone) {
    x = c.Unsqueeze(x, {1});
    for (std::string& state : states) state = state.empty() ? "" : c.Unsqueeze(state, {1});
  } else if (batch_first) {
    x = c.builder().Transpose(x, {1, 0, 2});
  }
  const int64_t ways = layers.bidirectional ? 2 : 1;
  Names last_h, last_c;
  for (int64_t layer = 0; layer < layers.count; ++layer) {
    const size_t first = static_cast<size_t>(layer * ways);
    if (layers.projection > 0) {
      Names outputs;
      for (int64_t way = 0; way < ways; ++way) {
        const int64_t place = layer * ways + way;
        const auto state = [&](const std::string& all) {
          return c.Add("Gather", {all, c.model().Int64(place)}, {{"axis", int64_t{0}}});
        };
        if (c.scope().Meta(layers.directions[0].w_ih).type != c.Target().type)
          return c.Refuse("its weights have another type than its input");
        const Scanned made = ProjectedLayer(c, layers.directions[first + static_cast<size_t>(way)],
                                            x, state(states[0]), state(states[1]), way == 1, type);
        outputs.push_back(made.y);
        last_h.push_back(c.Unsqueeze(made.h, {0}));
        last_c.push_back(c.Unsqueeze(made.cell, {0}));
      }
      x = c.Concat(std::move(outputs), 2);
      continue;
    }
    std::vector<std::vector<std::string>> w, r, b;
    for (int64_t way = 0; way < ways; ++way) {
      const Direction& direction = layers.directions[first + static_cast<size_t>(way)];
      w.push_back({direction.w_ih});
      r.push_back({direction.w_hh});
      if (layers.biases) b.push_back({direction.b_ih, direction.b_hh});
    }
    const auto state = [&](const std::string& all) {
      if (all.empty() || layers.count == 1) return all;
      return c.Slice(all, 0, layer * ways, (layer + 1) * ways);
    };
    Names inputs = {x,
                    Together(c, w, layers.cell.gates, layers.hidden, type),
                    Together(c, r, layers.cell.gates, layers.hidden, type),
                    layers.biases ? Together(c, b, layers.cell.gates, layers.hidden, type) : "",
                    "",
                    state(states[0])};
    if (layers.lstm) inputs.push_back(state(states[1]));
    Attributes attributes = {{"hidden_size", layers.hidden},
                             {"direction", layers.bidirectional ? std::string("bidirectional")
                                                                : std::string("forward")}};
    if (c.name() == "gru") attributes.push_back({"linear_before_reset", int64_t{1}});
    if (c.name() == "rnn_relu") {
      attributes.push_back(
          {"activations", std::vector<std::string>(static_cast<size_t>(ways), "Relu")});
    }
    const Names made = c.builder().AddMany(layers.cell.op, std::move(inputs), std::move(attributes),
                                           layers.lstm ? 3 : 2);
    last_h.push_back(made[1]);
    if (layers.lstm) last_c.push_back(made[2]);
    // [time, ways, batch, hidden] -> [time, batch, ways * hidden]
    x = ways == 1 ? c.Squeeze(made[0], {1})
                  : c.builder().Reshape(c.builder().Transpose(made[0], {0, 2, 1, 3}),
                                        {0, 0, ways * layers.hidden}, /*copy_zeros=*/true);
  }
  if (alone) {
    x = c.Squeeze(x, {1});
  } else if (batch_first) {
    x = c.builder().Transpose(x, {1, 0, 2});
  }
  c.Out(x, type, 0);
  const auto joined = [&](Names parts) {
    const std::string all = c.Concat(std::move(parts), 0);
    return alone ? c.Squeeze(all, {1}) : all;
  };
  if (c.Wants(1)) c.Out(joined(last_h), type, 1);
  if (layers.lstm && c.Wants(2)) c.Out(joined(last_c), type, 2);
}

void StepOnce(OperatorContext& c) {
  const DataType type = FloatOnly(c.Target().type);
  const auto name = [&](std::string_view argument) {
    const Argument* found = c.Find(argument);
    return found == nullptr ? std::string() : found->text;
  };
  const bool lstm = c.name() == "lstm_cell";
  std::string x = c.InAs("input", type);
  Names states = lstm ? c.ListAs("hx", type) : Names{c.InAs("hx", type)};
  if (!c.ok() || states.size() != (lstm ? 2u : 1u)) return c.Malformed("its states are missing");
  const bool alone = c.Rank("input") == 1;
  if (alone) {
    x = c.Unsqueeze(x, {0});
    for (std::string& state : states) state = c.Unsqueeze(state, {0});
  }
  const auto shaped = [&](const std::string& value) {
    return alone ? c.Squeeze(value, {0}) : value;
  };
  const std::string of_input = Affine(c, x, name("w_ih"), name("b_ih"), type);
  const std::string of_state = Affine(c, states[0], name("w_hh"), name("b_hh"), type);
  if (lstm) {
    const auto [cell, shown] = LstmStep(c.builder(), c.Add("Add", {of_input, of_state}), states[1]);
    c.Out(shaped(shown), type, 0);
    return c.Out(shaped(cell), type, 1);
  }
  if (c.name() != "gru_cell") {
    const char* activation = c.name() == "rnn_relu_cell" ? "Relu" : "Tanh";
    return c.Out(shaped(c.Add(activation, {c.Add("Add", {of_input, of_state})})), type);
  }
  const auto split = [&](const std::string& gates) {
    return c.builder().AddMany("Split", {gates},
                               {{"axis", int64_t{1}}, {"num_outputs", int64_t{3}}}, 3);
  };
  const Names in = split(of_input), state = split(of_state);
  const std::string reset = c.Add("Sigmoid", {c.Add("Add", {in[0], state[0]})});
  const std::string update = c.Add("Sigmoid", {c.Add("Add", {in[1], state[1]})});
  const std::string fresh = c.Add("Tanh", {c.Add("Add", {in[2], c.Add("Mul", {reset, state[2]})})});
  const std::string kept = c.Add("Mul", {update, c.Add("Sub", {states[0], fresh})});
  c.Out(shaped(c.Add("Add", {fresh, kept})), type);
}

}  // namespace

void RegisterPt2Operators_recurrent(OperatorRegistry& registry) {
  registry.Add({"aten.lstm", "aten.gru", "aten.rnn_tanh", "aten.rnn_relu"}, Recurrent);
  registry.Add({"aten.lstm_cell", "aten.gru_cell", "aten.rnn_tanh_cell", "aten.rnn_relu_cell"},
               StepOnce);
}

}  // namespace modelpress::pt2
