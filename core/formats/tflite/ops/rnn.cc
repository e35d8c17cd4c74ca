// Plain recurrence: RNN (version 1 to 3), UNIDIRECTIONAL_SEQUENCE_RNN (1 to 3), BIDIRECTIONAL_SEQUENCE_RNN (1), SVDF (1 to
// 4); float32, int8 weights.
//
//   RNN, SVDF (one step) -> that step; the state is an input that is zeros by default, and an output
//   sequences -> RNN from zeros, time first (Transposes around it where the batch is)
// SVDF (Nakkiran et al., "Compressing deep neural networks using a rank-constrained topology", 2015): a filter over
// features, its last outputs in the state, a filter over those, sums over ranks.
#include "core/formats/tflite/recurrent.h"

namespace modelpress::tflite {
namespace {

absl::Status OneStep(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(5, 1));
  MP_ASSIGN_OR_RETURN(const std::string x, c.In(0));
  MP_ASSIGN_OR_RETURN(const std::string w, c.In(1));
  MP_ASSIGN_OR_RETURN(const std::string r, c.In(2));
  MP_ASSIGN_OR_RETURN(const std::string b, c.In(3));
  MP_ASSIGN_OR_RETURN(const std::string h, StateInput(c, 4));
  const Attributes turned = {{"transB", int64_t{1}}};
  const std::string sum = c.Add("Gemm", {h, r, c.Add("Gemm", {x, w, b}, turned)}, turned);
  MP_ASSIGN_OR_RETURN(std::string y,
                      c.Activate(sum, c.Options<schema::RNNOptions>().fused_activation_function()));
  MP_RETURN_IF_ERROR(StateOutput(c, 4, c.Add("Identity", {y})));
  return c.Out(0, y);
}

// Inputs of each direction: weights, recurrent weights, bias.
absl::StatusOr<std::string> Fused(OperatorContext& c, const std::vector<int>& firsts,
                                  bool time_major, schema::ActivationFunctionType fused) {
  NoteZeroStart(c);
  MP_ASSIGN_OR_RETURN(std::string x, c.In(0));
  std::vector<std::vector<int>> w, r, b;
  for (const int first : firsts) {
    w.push_back({first});
    r.push_back({first + 1});
    b.push_back({first + 2});
  }
  MP_ASSIGN_OR_RETURN(const std::string weights, StackGates(c, w, "W"));
  MP_ASSIGN_OR_RETURN(const std::string recurrent, StackGates(c, r, "R"));
  MP_ASSIGN_OR_RETURN(std::string bias, StackGates(c, b, "B"));
  const int64_t cells = c.Source(firsts[0]).shape[0], count = static_cast<int64_t>(firsts.size());
  MP_RETURN_IF_ERROR(c.Limit(cells, count));
  const std::vector<float> zeros(cells * count, 0.0f);
  const int64_t dims[] = {count, cells};
  bias = c.Add("Concat", {bias, c.model().Floats(zeros, dims)}, {{"axis", int64_t{1}}});
  MP_ASSIGN_OR_RETURN(const std::string activation, RecurrentActivation(c, fused));
  if (!time_major) x = c.builder().Transpose(x, {1, 0, 2});
  return c.Add("RNN", {x, weights, recurrent, bias},
               {{"hidden_size", cells},
                {"activations", std::vector<std::string>(firsts.size(), activation)},
                {"direction", std::string(count == 2 ? "bidirectional" : "forward")}});
}

absl::Status Sequence(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(4, 1));
  const auto& options = c.Options<schema::SequenceRNNOptions>();
  MP_ASSIGN_OR_RETURN(std::string y,
                      Fused(c, {1}, options.time_major(), options.fused_activation_function()));
  y = c.Add("Squeeze", {y, c.model().Int64s({1})});
  if (!options.time_major()) y = c.builder().Transpose(y, {1, 0, 2});
  return c.Out(0, y);
}

// With an auxiliary input: one direction after the other, h = act(x w' + z a' + h r' + b), as the two read other features.
// Both read it beside the input if it has weights, else the backward one in place of it (LiteRT's kernel does that where
// time comes first only, and reads the input else).
absl::StatusOr<std::string> Side(OperatorContext& c, int side, bool time_major,
                                 schema::ActivationFunctionType fused) {
  const int first = side == 0 ? 1 : 5, auxiliary = 10 + side;
  MP_ASSIGN_OR_RETURN(std::string x, c.In(!c.Has(10) && side == 1 && time_major ? 9 : 0));
  MP_ASSIGN_OR_RETURN(std::string w, c.In(first));
  MP_ASSIGN_OR_RETURN(std::string r, c.In(first + 1));
  MP_ASSIGN_OR_RETURN(std::string b, c.In(first + 2));
  if (!c.Source(first).is_static() || c.Source(first).shape.size() != 2)
    return c.Unsupported("its weights are no matrices of known shape");
  const int64_t cells = c.Source(first).shape[0];
  MP_RETURN_IF_ERROR(c.Limit(cells, 2));
  if (c.Has(10)) {
    if (!c.Has(11)) return c.Malformed("its auxiliary input has weights for one direction only");
    MP_ASSIGN_OR_RETURN(const std::string further, c.In(9));
    MP_ASSIGN_OR_RETURN(const std::string weights, c.In(auxiliary));
    x = c.Add("Concat", {x, further}, {{"axis", int64_t{2}}});
    w = c.Add("Concat", {w, weights}, {{"axis", int64_t{1}}});
  }
  const std::vector<float> zeros(static_cast<size_t>(cells), 0.0f);
  const std::string first_axis = c.model().Int64s({0});
  b = c.Add("Concat", {b, c.model().Floats(zeros, std::span(&cells, 1))}, {{"axis", int64_t{0}}});
  MP_ASSIGN_OR_RETURN(const std::string activation, RecurrentActivation(c, fused));
  if (!time_major) x = c.builder().Transpose(x, {1, 0, 2});
  const std::string y =
      c.Add("RNN",
            {x, c.Add("Unsqueeze", {w, first_axis}), c.Add("Unsqueeze", {r, first_axis}),
             c.Add("Unsqueeze", {b, first_axis})},
            {{"hidden_size", cells},
             {"activations", std::vector<std::string>{activation}},
             {"direction", std::string(side == 0 ? "forward" : "reverse")}});
  const std::string part = c.Add("Squeeze", {y, c.model().Int64s({1})});
  return time_major ? part : c.builder().Transpose(part, {1, 0, 2});
}

absl::Status Bidirectional(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(8, 1));
  const auto& options = c.Options<schema::BidirectionalSequenceRNNOptions>();
  const auto fused = options.fused_activation_function();
  Names sides;
  if (c.Has(9)) {
    NoteZeroStart(c);
    for (int side = 0; side < 2; ++side) {
      MP_ASSIGN_OR_RETURN(sides.emplace_back(), Side(c, side, options.time_major(), fused));
    }
  } else {
    MP_ASSIGN_OR_RETURN(const std::string y, Fused(c, {1, 5}, options.time_major(), fused));
    for (int side = 0; side < 2; ++side) {
      std::string part = c.Add("Gather", {y, c.model().Int64(side)}, {{"axis", int64_t{1}}});
      if (!options.time_major()) part = c.builder().Transpose(part, {1, 0, 2});
      sides.push_back(part);
    }
  }
  if (options.merge_outputs()) return c.Out(0, c.Add("Concat", sides, {{"axis", int64_t{2}}}));
  for (int side = 0; side < 2 && side < c.output_count(); ++side)
    MP_RETURN_IF_ERROR(c.Out(side, sides[side]));
  return absl::OkStatus();
}

// Inputs: x [batch, features], feature filters [filters, features], time filters [filters, memory], bias [units] or
// absent, state [batch, filters * memory].
absl::Status Svdf(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(3, 1));
  const auto& options = c.Options<schema::SVDFOptions>();
  const SourceTensor& time = c.Source(2);
  if (!time.is_static() || time.shape.size() != 2 || options.rank() < 1 ||
      time.shape[0] % options.rank() != 0) {
    return c.Malformed("its filters do not fit its rank");
  }
  if (IsQuantized(c.Source(0))) return c.Unsupported("its activations are quantized");
  const int64_t filters = time.shape[0], memory = time.shape[1], units = filters / options.rank();
  MP_ASSIGN_OR_RETURN(const std::string x, c.In(0));
  MP_ASSIGN_OR_RETURN(const std::string features, c.In(1));
  MP_ASSIGN_OR_RETURN(const std::string taps, c.In(2));
  MP_ASSIGN_OR_RETURN(const std::string bias, c.In(3));
  MP_ASSIGN_OR_RETURN(const std::string state, StateInput(c, 4));
  import::GraphBuilder& b = c.builder();
  const std::string now = b.Add("Gemm", {x, features}, {{"transB", int64_t{1}}});
  const std::string old = b.Slice(b.Reshape(state, {-1, filters, memory}), {1}, {memory}, {2});
  const std::string window = b.Add(
      "Concat", {old, b.Add("Unsqueeze", {now, c.model().Int64s({2})})}, {{"axis", int64_t{2}}});
  std::string y = b.Add("ReduceSum", {b.Add("Mul", {window, taps}), c.model().Int64s({2})},
                        {{"keepdims", int64_t{0}}});
  if (options.rank() > 1) {
    y = b.Add("ReduceSum", {b.Reshape(y, {-1, units, options.rank()}), c.model().Int64s({2})},
              {{"keepdims", int64_t{0}}});
  }
  if (!bias.empty()) y = b.Add("Add", {y, bias});
  MP_ASSIGN_OR_RETURN(y, c.Activate(y, options.fused_activation_function()));
  MP_RETURN_IF_ERROR(StateOutput(c, 4, b.Reshape(window, {-1, filters * memory})));
  return c.Out(0, y);
}

}  // namespace

void RegisterTfliteOperators_rnn(OperatorRegistry& registry) {
  registry.Add(BuiltinOperator::RNN, OneStep);
  registry.Add(BuiltinOperator::UNIDIRECTIONAL_SEQUENCE_RNN, Sequence);
  registry.Add(BuiltinOperator::BIDIRECTIONAL_SEQUENCE_RNN, Bidirectional);
  registry.Add(BuiltinOperator::SVDF, Svdf);
}

}  // namespace modelpress::tflite
