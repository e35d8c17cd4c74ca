// Control flow.
//
//   cond       -> If; its branches read the outer values
//   while_loop -> the condition once, then Loop, whose body is the source's body followed by the condition
//   scan, map  -> Scan
//   wrap_with_set_grad_enabled, wrap_with_autocast that is off, and other wrappers -> the graph inside, in place
// Assertions and range constraints compute nothing and are left out.
#include "absl/cleanup/cleanup.h"
#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {
namespace {

constexpr int kMaxDepth = 32;

// A graph inside of this one over `builder`: its inputs are bound to `inputs`; its outputs' values.
Names Inline(OperatorContext& c, const Graph& graph, import::GraphBuilder* builder,
             const Names& inputs) {
  Conversion& conversion = c.conversion();
  if (graph.inputs.size() != inputs.size()) {
    c.Malformed("the graph that it calls has other inputs");
    return {};
  }
  if (conversion.depth >= kMaxDepth) {
    c.Fail(Error(ERROR_REASON_MODEL_LIMIT, "graphs call each other too deeply").Op(c.target()));
    return {};
  }
  ++conversion.depth;
  const absl::Cleanup leave = [&] { --conversion.depth; };
  GraphScope scope(&conversion, &graph, builder);
  for (size_t i = 0; i < inputs.size(); ++i) scope.Bind(graph.inputs[i].text, inputs[i]);
  const std::string outer(builder->scope());
  if (absl::Status status = scope.TranslateNodes(); !status.ok()) {
    c.Fail(std::move(status));
    return {};
  }
  builder->SetScope(outer);
  Names outputs;
  for (const Argument& output : graph.outputs) {
    if (output.kind != Argument::Kind::kTensor && output.kind != Argument::Kind::kSymInt) {
      c.Refuse("the graph that it calls gives something else than tensors");
      return {};
    }
    absl::StatusOr<std::string> value = scope.Value(output.text);
    if (!value.ok()) {
      c.Fail(value.status());
      return {};
    }
    outputs.push_back(*std::move(value));
  }
  return outputs;
}

// Tensors of the arguments from `first` on, lists unrolled. Numbers are constants of the graphs, and refused.
bool Operands(OperatorContext& c, size_t first, Names* values, std::vector<std::string>* names) {
  const auto add = [&](const std::string& name) {
    absl::StatusOr<std::string> value = c.scope().Value(name);
    if (!value.ok()) {
      c.Fail(value.status());
      return false;
    }
    values->push_back(*std::move(value));
    names->push_back(name);
    return true;
  };
  for (size_t i = first; i < c.node().inputs.size(); ++i) {
    const Argument& argument = c.node().inputs[i].second;
    if (argument.kind == Argument::Kind::kTensor || argument.kind == Argument::Kind::kSymInt) {
      if (!add(argument.text)) return false;
    } else if (argument.kind == Argument::Kind::kTensors) {
      for (const std::string& name : argument.names) {
        if (!add(name)) return false;
      }
    } else if (argument.kind == Argument::Kind::kInts) {
      for (const SymInt& value : argument.ints) {
        if (value.name.empty()) {
          values->push_back(c.model().Int64(value.value));
          names->emplace_back();
        } else if (!add(value.name)) {
          return false;
        }
      }
    } else if (argument.kind != Argument::Kind::kNone) {
      c.Refuse("it hands on something else than tensors");
      return false;
    }
  }
  return true;
}

const Graph* GraphAt(OperatorContext& c, size_t i) {
  if (i >= c.node().inputs.size() || c.node().inputs[i].second.kind != Argument::Kind::kGraph) {
    c.Malformed("it has no graph where it needs one");
    return nullptr;
  }
  return c.node().inputs[i].second.graph.get();
}

// Declares `value` as the next output of the builder's graph.
void AddOutput(import::GraphBuilder& builder, DataType type, const std::string& value, bool again) {
  const std::string name = builder.AsOutput(
      value, builder.Makes(value) && !again ? value : builder.scope() + "/output", again);
  onnx::ValueInfoProto* output = builder.graph().add_output();
  output->set_name(name);
  output->mutable_type()->mutable_tensor_type()->set_elem_type(static_cast<int32_t>(type));
}

// What an output of a graph is.
DataType TypeOf(const Graph& graph, const Argument& argument) {
  const auto meta = graph.tensors.find(argument.text);
  return meta == graph.tensors.end() ? DataType::kInt64 : ToOnnxType(meta->second.type);
}

onnx::GraphProto Branch(OperatorContext& c, const Graph& graph, const Names& inputs,
                        std::string_view name) {
  onnx::GraphProto result;
  result.set_name(c.builder().scope() + "/" + std::string(name));
  import::GraphBuilder builder(&c.model(), &result);
  builder.SetScope(result.name());
  const Names outputs = Inline(c, graph, &builder, inputs);
  absl::flat_hash_set<std::string> used;
  for (size_t i = 0; i < outputs.size(); ++i) {
    AddOutput(builder, TypeOf(graph, graph.outputs[i]), outputs[i],
              !used.insert(outputs[i]).second);
  }
  return result;
}

void Cond(OperatorContext& c) {
  const Graph *then = GraphAt(c, 1), *otherwise = GraphAt(c, 2);
  if (then == nullptr || otherwise == nullptr) return;
  const Argument& predicate = c.node().inputs[0].second;
  std::string condition;
  if (predicate.kind == Argument::Kind::kTensor || predicate.kind == Argument::Kind::kSymBool) {
    absl::StatusOr<std::string> value = c.scope().Value(predicate.text);
    if (!value.ok()) return c.Fail(value.status());
    condition = *value;
    if (predicate.kind == Argument::Kind::kTensor) {
      condition =
          c.Cast(condition, ToOnnxType(c.scope().Meta(predicate.text).type), DataType::kBool);
    }
  } else if (predicate.kind == Argument::Kind::kBool) {
    condition = c.model().Bool(predicate.bools[0]);
  } else {
    return c.Refuse("its condition is no truth value");
  }
  Names inputs;
  std::vector<std::string> names;
  if (!Operands(c, 3, &inputs, &names)) return;
  onnx::GraphProto then_graph = Branch(c, *then, inputs, "then"),
                   else_graph = Branch(c, *otherwise, inputs, "else");
  if (!c.ok()) return;
  if (then_graph.output_size() != c.output_count() ||
      else_graph.output_size() != c.output_count()) {
    return c.Malformed("its branches give other numbers of tensors");
  }
  if (c.output_count() == 0) return;
  const Names made = c.builder().AddMany(
      "If", {condition},
      {{"then_branch", std::move(then_graph)}, {"else_branch", std::move(else_graph)}},
      c.output_count());
  for (int o = 0; o < c.output_count(); ++o) c.Out(made[static_cast<size_t>(o)], c.OutType(o), o);
}

std::string ConditionOf(OperatorContext& c, import::GraphBuilder& builder, const Graph& graph,
                        const Names& outputs) {
  if (outputs.size() != 1) {
    if (c.ok()) c.Malformed("its condition gives more than one value");
    return "";
  }
  std::string value = outputs[0];
  if (TypeOf(graph, graph.outputs[0]) != DataType::kBool)
    value = builder.Cast(value, DataType::kBool);
  const auto meta = graph.tensors.find(graph.outputs[0].text);
  return meta == graph.tensors.end() || meta->second.rank() == 0 ? value
                                                                 : builder.Reshape(value, {});
}

void WhileLoop(OperatorContext& c) {
  const Graph *condition = GraphAt(c, 0), *step = GraphAt(c, 1);
  if (condition == nullptr || step == nullptr) return;
  Names inputs;
  std::vector<std::string> names;
  if (!Operands(c, 2, &inputs, &names)) return;
  const size_t carried = step->outputs.size();
  if (carried > inputs.size() || static_cast<int>(carried) != c.output_count()) {
    return c.Malformed("its body gives more than it takes");
  }
  const std::string start =
      ConditionOf(c, c.builder(), *condition, Inline(c, *condition, &c.builder(), inputs));
  if (!c.ok()) return;
  onnx::GraphProto graph;
  graph.set_name(c.builder().scope() + "/body");
  import::GraphBuilder builder(&c.model(), &graph);
  builder.SetScope(graph.name());
  const auto declare = [&](std::string_view name, DataType type) {
    onnx::ValueInfoProto* value = graph.add_input();
    value->set_name(c.model().UniqueValue(name));
    value->mutable_type()->mutable_tensor_type()->set_elem_type(static_cast<int32_t>(type));
    return value->name();
  };
  declare(graph.name() + "/iteration", DataType::kInt64);
  graph.mutable_input(0)->mutable_type()->mutable_tensor_type()->mutable_shape();
  declare(graph.name() + "/condition", DataType::kBool);
  graph.mutable_input(1)->mutable_type()->mutable_tensor_type()->mutable_shape();
  Names bound, loop_inputs = {"", start};
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (i >= carried) {
      bound.push_back(inputs[i]);
      continue;
    }
    bound.push_back(declare(step->inputs[i].text, TypeOf(*step, step->inputs[i])));
    loop_inputs.push_back(inputs[i]);
  }
  const Names next = Inline(c, *step, &builder, bound);
  if (!c.ok()) return;
  Names handed = next;
  handed.insert(handed.end(), inputs.begin() + static_cast<ptrdiff_t>(carried), inputs.end());
  const std::string again =
      ConditionOf(c, builder, *condition, Inline(c, *condition, &builder, handed));
  if (!c.ok()) return;
  AddOutput(builder, DataType::kBool, again, false);
  absl::flat_hash_set<std::string> used = {graph.output(0).name()};
  for (size_t i = 0; i < carried; ++i) {
    AddOutput(builder, TypeOf(*step, step->outputs[i]), next[i], !used.insert(next[i]).second);
  }
  const Names made = c.builder().AddMany("Loop", loop_inputs, {{"body", std::move(graph)}},
                                         static_cast<int>(carried));
  for (int o = 0; o < c.output_count(); ++o) c.Out(made[static_cast<size_t>(o)], c.OutType(o), o);
}

// scan(graph, states, tensors, others) and map(graph, tensors, others): the graph on each slice along the first axis.
void OverSlices(OperatorContext& c) {
  const Graph* step = GraphAt(c, 0);
  if (step == nullptr) return;
  const auto count = [&](size_t i) -> size_t {
    return i < c.node().inputs.size() ? c.node().inputs[i].second.names.size() : 0;
  };
  const bool has_states = c.name() == "scan";
  const size_t states = has_states ? count(1) : 0, sliced = count(has_states ? 2 : 1);
  Names inputs;
  std::vector<std::string> names;
  if (!Operands(c, 1, &inputs, &names)) return;
  const size_t given = states + sliced;
  if (sliced == 0 || inputs.size() < given || step->inputs.size() != inputs.size() ||
      step->outputs.size() != static_cast<size_t>(c.output_count()) ||
      step->outputs.size() < states) {
    return c.Malformed("its graph takes or gives other tensors than it has");
  }
  onnx::GraphProto graph;
  graph.set_name(c.builder().scope() + "/step");
  import::GraphBuilder builder(&c.model(), &graph);
  builder.SetScope(graph.name());
  Names bound;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (i >= given) {
      bound.push_back(inputs[i]);
      continue;
    }
    onnx::ValueInfoProto* value = graph.add_input();
    value->set_name(c.model().UniqueValue(graph.name() + "/" + step->inputs[i].text));
    value->mutable_type()->mutable_tensor_type()->set_elem_type(
        static_cast<int32_t>(TypeOf(*step, step->inputs[i])));
    bound.push_back(value->name());
  }
  const Names outputs = Inline(c, *step, &builder, bound);
  if (!c.ok()) return;
  absl::flat_hash_set<std::string> used;
  for (size_t i = 0; i < outputs.size(); ++i) {
    AddOutput(builder, TypeOf(*step, step->outputs[i]), outputs[i],
              !used.insert(outputs[i]).second);
  }
  inputs.resize(given);
  const Names made = c.builder().AddMany(
      "Scan", inputs,
      {{"body", std::move(graph)}, {"num_scan_inputs", static_cast<int64_t>(sliced)}},
      c.output_count());
  for (int o = 0; o < c.output_count(); ++o) c.Out(made[static_cast<size_t>(o)], c.OutType(o), o);
}

// The first graph among the arguments, on the tensors behind it.
void Wrapper(OperatorContext& c) {
  size_t at = 0;
  while (at < c.node().inputs.size() && c.node().inputs[at].second.kind != Argument::Kind::kGraph)
    ++at;
  const Graph* graph = GraphAt(c, at);
  if (graph == nullptr) return;
  if (c.name() == "wrap_with_autocast") {
    // (device, dtype, enabled, cache_enabled, graph, ...)
    for (size_t i = 0; i < at; ++i) {
      const Argument& argument = c.node().inputs[i].second;
      if (argument.kind == Argument::Kind::kBool && argument.bools[0]) {
        return c.Refuse("it changes types by itself (autocast)",
                        "export the module without autocast");
      }
      if (argument.kind == Argument::Kind::kBool) break;
    }
  }
  Names inputs;
  std::vector<std::string> names;
  if (!Operands(c, at + 1, &inputs, &names)) return;
  const Names outputs = Inline(c, *graph, &c.builder(), inputs);
  if (!c.ok()) return;
  if (outputs.size() != static_cast<size_t>(c.output_count()))
    return c.Malformed("the graph that it calls gives other tensors");
  for (int o = 0; o < c.output_count(); ++o)
    c.Out(outputs[static_cast<size_t>(o)], c.OutType(o), o);
}

void Nothing(OperatorContext&) {}

}  // namespace

void RegisterPt2Operators_control(OperatorRegistry& registry) {
  registry.Add("higher_order.cond", Cond);
  registry.Add("higher_order.while_loop", WhileLoop);
  registry.Add({"higher_order.scan", "higher_order.map_impl"}, OverSlices);
  registry.Add(
      {"higher_order.wrap_with_set_grad_enabled", "higher_order.wrap_with_autocast",
       "higher_order.wrap_activation_checkpoint", "higher_order.tag_activation_checkpoint"},
      Wrapper);
  registry.Add({"aten._assert_scalar", "aten._assert_async", "aten._assert_tensor_metadata",
                "aten.sym_constrain_range", "aten.sym_constrain_range_for_size",
                "aten._functional_assert_async", "aten._functional_assert_scalar"},
               Nothing);
}

}  // namespace modelpress::pt2
