// Control flow: IF, WHILE, CALL, STABLEHLO_WHILE, STABLEHLO_CASE, STABLEHLO_COMPOSITE (all versions).
//
//   IF -> If, its branches reading the outer values
//   WHILE -> the condition once, then Loop; its body is the source's body followed by the condition. What the body hands
//     on unchanged is no value of the loop but read from outside.
//   STABLEHLO_CASE -> If inside of If
//   CALL, STABLEHLO_COMPOSITE -> the graph that it names, in place of the operator
#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "core/formats/tflite/operator.h"

namespace modelpress::tflite {
namespace {

constexpr int kMaxDepth = 32;

// A graph inside of this one: index and numbers of inputs and outputs are checked.
absl::Status CheckGraph(OperatorContext& c, int64_t index, size_t inputs, size_t outputs) {
  const auto& graphs = c.conversion().source.graphs;
  if (index < 0 || static_cast<size_t>(index) >= graphs.size())
    return c.Malformed("the graph that it names does not exist");
  if (graphs[index].inputs.size() != inputs || graphs[index].outputs.size() < outputs) {
    return c.Malformed("the graph that it names has other inputs or outputs");
  }
  if (c.conversion().depth >= kMaxDepth) {
    return Error(ERROR_REASON_MODEL_LIMIT, "graphs call each other in a circle, or too deep")
        .Op(c.op().name());
  }
  return absl::OkStatus();
}

// The graph in place, over `builder`; its outputs' values.
absl::StatusOr<Names> Inline(OperatorContext& c, int index, import::GraphBuilder* builder,
                             const Names& inputs) {
  Conversion& conversion = c.conversion();
  ++conversion.depth;
  const absl::Cleanup leave = [&] { --conversion.depth; };
  GraphScope scope(&conversion, index, builder);
  for (size_t i = 0; i < inputs.size(); ++i) scope.Bind(scope.graph().inputs[i], inputs[i]);
  const std::string outer(builder->scope());
  MP_RETURN_IF_ERROR(scope.TranslateOperators());
  builder->SetScope(outer);
  Names outputs;
  for (const int output : scope.graph().outputs) {
    MP_ASSIGN_OR_RETURN(const std::string value, scope.Raw(output));
    outputs.push_back(c.model().Current(value));
  }
  return outputs;
}

void Declare(const SourceTensor& tensor, const std::string& name, bool with_shape,
             onnx::ValueInfoProto* value) {
  value->set_name(name);
  auto* type = value->mutable_type()->mutable_tensor_type();
  type->set_elem_type(static_cast<int32_t>(ToOnnxType(tensor.type)));
  if (!with_shape) return;
  for (const int64_t extent : tensor.shape) type->mutable_shape()->add_dim()->set_dim_value(extent);
}

// Adds `value` as the next output of the builder's graph.
void AddOutput(import::GraphBuilder& builder, const SourceTensor& tensor, const std::string& value,
               bool again) {
  const std::string wanted =
      tensor.name.empty() ? builder.scope() + "/output" : std::string(tensor.name);
  const std::string name =
      builder.AsOutput(value, builder.Makes(value) && !again ? value : wanted, again);
  Declare(tensor, name, /*with_shape=*/false, builder.graph().add_output());
}

absl::StatusOr<Names> RawInputs(OperatorContext& c, int first) {
  Names inputs;
  for (int i = first; i < c.input_count(); ++i) {
    if (!c.Has(i)) return c.Malformed("an input is missing");
    if (ToOnnxType(c.Source(i).type) == DataType::kUndefined) {
      return c.Unsupported("it hands on a value that is no numeric tensor");
    }
    MP_ASSIGN_OR_RETURN(inputs.emplace_back(), c.Raw(i));
  }
  return inputs;
}

absl::Status Call(OperatorContext& c, int64_t index, const Names& inputs) {
  MP_RETURN_IF_ERROR(c.Expect(0, 1));
  MP_RETURN_IF_ERROR(CheckGraph(c, index, inputs.size(), c.op().outputs.size()));
  MP_ASSIGN_OR_RETURN(const Names outputs,
                      Inline(c, static_cast<int>(index), &c.builder(), inputs));
  for (int o = 0; o < c.output_count(); ++o) MP_RETURN_IF_ERROR(c.OutRaw(o, outputs[o]));
  return absl::OkStatus();
}

absl::Status Call(OperatorContext& c, int64_t index) {
  MP_ASSIGN_OR_RETURN(const Names inputs, RawInputs(c, 0));
  return Call(c, index, inputs);
}

absl::StatusOr<onnx::GraphProto> Branch(OperatorContext& c, int64_t index, const Names& inputs,
                                        std::string_view name) {
  MP_RETURN_IF_ERROR(CheckGraph(c, index, inputs.size(), c.op().outputs.size()));
  onnx::GraphProto graph;
  graph.set_name(c.builder().scope() + "/" + std::string(name));
  import::GraphBuilder builder(&c.model(), &graph);
  builder.SetScope(graph.name());
  MP_ASSIGN_OR_RETURN(const Names outputs, Inline(c, static_cast<int>(index), &builder, inputs));
  absl::flat_hash_set<std::string> used;
  const SourceGraph& source = c.conversion().source.graphs[index];
  for (int o = 0; o < c.output_count(); ++o) {
    AddOutput(builder, source.tensors[source.outputs[o]], outputs[o],
              !used.insert(outputs[o]).second);
  }
  return graph;
}

// STABLEHLO_CASE: the branch of that number, the last one where there is none, as Ifs inside of each other.
absl::StatusOr<onnx::GraphProto> Branches(OperatorContext& c, const std::string& index,
                                          const std::vector<int32_t>& graphs, size_t first,
                                          const Names& inputs) {
  if (first + 1 == graphs.size())
    return Branch(c, graphs[first], inputs, absl::StrCat("branch", first));
  onnx::GraphProto graph;
  graph.set_name(absl::StrCat(c.builder().scope(), "/branches", first));
  import::GraphBuilder builder(&c.model(), &graph);
  builder.SetScope(graph.name());
  MP_ASSIGN_OR_RETURN(onnx::GraphProto then,
                      Branch(c, graphs[first], inputs, absl::StrCat("branch", first)));
  MP_ASSIGN_OR_RETURN(onnx::GraphProto otherwise, Branches(c, index, graphs, first + 1, inputs));
  const std::string condition =
      builder.Add("Equal", {index, c.model().Int32(static_cast<int32_t>(first))});
  const Names made = builder.AddMany(
      "If", {condition}, {{"then_branch", std::move(then)}, {"else_branch", std::move(otherwise)}},
      c.output_count());
  for (int o = 0; o < c.output_count(); ++o)
    AddOutput(builder, c.Target(o), made[o], /*again=*/false);
  return graph;
}

absl::Status Case(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  const auto* list = c.Options2<schema::StablehloCaseOptions>().branch_subgraph_indices();
  if (list == nullptr || list->size() == 0) return c.Malformed("it has no branches");
  if (list->size() > kMaxDepth) return c.Unsupported("it has too many branches");
  const std::vector<int32_t> graphs(list->begin(), list->end());
  MP_ASSIGN_OR_RETURN(std::string index, c.InAs(0, DataType::kInt32));
  MP_ASSIGN_OR_RETURN(const Names inputs, RawInputs(c, 1));
  if (graphs.size() == 1) return Call(c, graphs[0], inputs);
  MP_ASSIGN_OR_RETURN(onnx::GraphProto then, Branch(c, graphs[0], inputs, "branch0"));
  MP_ASSIGN_OR_RETURN(onnx::GraphProto otherwise, Branches(c, index, graphs, 1, inputs));
  const std::string condition = c.Add("Equal", {index, c.model().Int32(0)});
  const Names made = c.builder().AddMany(
      "If", {condition}, {{"then_branch", std::move(then)}, {"else_branch", std::move(otherwise)}},
      c.output_count());
  for (int o = 0; o < c.output_count(); ++o) MP_RETURN_IF_ERROR(c.OutRaw(o, made[o]));
  return absl::OkStatus();
}

absl::Status If(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  const auto& options = c.Options<schema::IfOptions>();
  MP_ASSIGN_OR_RETURN(const std::string condition, c.Raw(0));
  MP_ASSIGN_OR_RETURN(const Names inputs, RawInputs(c, 1));
  MP_ASSIGN_OR_RETURN(onnx::GraphProto then,
                      Branch(c, options.then_subgraph_index(), inputs, "then"));
  MP_ASSIGN_OR_RETURN(onnx::GraphProto otherwise,
                      Branch(c, options.else_subgraph_index(), inputs, "else"));
  const Names made = c.builder().AddMany(
      "If", {condition}, {{"then_branch", std::move(then)}, {"else_branch", std::move(otherwise)}},
      c.output_count());
  for (int o = 0; o < c.output_count(); ++o) MP_RETURN_IF_ERROR(c.OutRaw(o, made[o]));
  return absl::OkStatus();
}

// A condition as a scalar.
std::string Scalar(import::GraphBuilder& builder, const SourceTensor& tensor,
                   const std::string& value) {
  return tensor.has_shape && tensor.shape.empty() ? value : builder.Reshape(value, {});
}

absl::Status While(OperatorContext& c, int condition_index, int body_index) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  const size_t count = c.op().inputs.size();
  if (c.op().outputs.size() != count)
    return c.Malformed("it has another number of inputs than of outputs");
  MP_RETURN_IF_ERROR(CheckGraph(c, condition_index, count, 1));
  MP_RETURN_IF_ERROR(CheckGraph(c, body_index, count, count));
  MP_ASSIGN_OR_RETURN(const Names inputs, RawInputs(c, 0));
  const SourceGraph& condition = c.conversion().source.graphs[condition_index];
  const SourceGraph& body = c.conversion().source.graphs[body_index];
  const SourceTensor& condition_tensor = condition.tensors[condition.outputs[0]];

  MP_ASSIGN_OR_RETURN(const Names first, Inline(c, condition_index, &c.builder(), inputs));
  const std::string start = Scalar(c.builder(), condition_tensor, first[0]);

  onnx::GraphProto graph;
  graph.set_name(c.builder().scope() + "/body");
  import::GraphBuilder builder(&c.model(), &graph);
  builder.SetScope(graph.name());
  const auto scalar = [&](std::string_view name, DataType type) {
    onnx::ValueInfoProto* value = graph.add_input();
    value->set_name(c.model().UniqueValue(graph.name() + "/" + std::string(name)));
    value->mutable_type()->mutable_tensor_type()->set_elem_type(static_cast<int32_t>(type));
    value->mutable_type()->mutable_tensor_type()->mutable_shape();
  };
  scalar("iteration", DataType::kInt64);
  scalar("condition", DataType::kBool);
  Names carried = {"", start}, bound;
  std::vector<size_t> loop;  // which inputs are values of the loop
  for (size_t i = 0; i < count; ++i) {
    const SourceTensor &in = body.tensors[body.inputs[i]], &out = body.tensors[body.outputs[i]];
    if (body.inputs[i] == body.outputs[i]) {
      bound.push_back(inputs[i]);
      continue;
    }
    const SourceTensor& outer = c.Source(static_cast<int>(i));
    const bool fixed = in.is_static() && out.is_static() && outer.is_static() &&
                       in.shape == out.shape && in.shape == outer.shape;
    const std::string name =
        c.model().UniqueValue(in.name.empty() ? graph.name() + "/value" : std::string(in.name));
    Declare(in, name, fixed, graph.add_input());
    bound.push_back(name);
    carried.push_back(inputs[i]);
    loop.push_back(i);
  }
  ++c.conversion().loops;
  const absl::Cleanup leave = [&] { --c.conversion().loops; };
  MP_ASSIGN_OR_RETURN(const Names next, Inline(c, body_index, &builder, bound));
  Names handed = next;
  for (size_t i = 0; i < count; ++i) {
    if (body.inputs[i] == body.outputs[i]) handed[i] = inputs[i];
  }
  MP_ASSIGN_OR_RETURN(const Names again, Inline(c, condition_index, &builder, handed));
  AddOutput(builder, condition_tensor, Scalar(builder, condition_tensor, again[0]), false);
  absl::flat_hash_set<std::string> used = {graph.output(0).name()};
  for (const size_t i : loop) {
    AddOutput(builder, body.tensors[body.outputs[i]], next[i], !used.insert(next[i]).second);
  }
  Names made;
  if (!loop.empty()) {
    made = c.builder().AddMany("Loop", carried, {{"body", std::move(graph)}},
                               static_cast<int>(loop.size()));
  }
  size_t at = 0;
  for (size_t i = 0; i < count; ++i) {
    const bool in_loop = at < loop.size() && loop[at] == i;
    MP_RETURN_IF_ERROR(c.OutRaw(static_cast<int>(i), in_loop ? made[at] : inputs[i]));
    if (in_loop) ++at;
  }
  return absl::OkStatus();
}

absl::Status Composite(OperatorContext& c) {
  const auto* options = c.op().table->builtin_options_2_as_StableHLOCompositeOptions();
  if (options == nullptr) return c.Malformed("it has no options");
  return Call(c, options->decomposition_subgraph_index());
}

}  // namespace

void RegisterTfliteOperators_control_flow(OperatorRegistry& registry) {
  registry.Add(BuiltinOperator::IF, If);
  registry.Add(BuiltinOperator::WHILE, [](OperatorContext& c) {
    const auto& options = c.Options<schema::WhileOptions>();
    return While(c, options.cond_subgraph_index(), options.body_subgraph_index());
  });
  registry.Add(BuiltinOperator::STABLEHLO_WHILE, [](OperatorContext& c) {
    const auto& options = c.Options2<schema::StablehloWhileOptions>();
    return While(c, options.cond_subgraph_index(), options.body_subgraph_index());
  });
  registry.Add(BuiltinOperator::STABLEHLO_CASE, Case);
  registry.Add(BuiltinOperator::CALL, [](OperatorContext& c) {
    return Call(c, c.Options<schema::CallOptions>().subgraph());
  });
  registry.Add(BuiltinOperator::STABLEHLO_COMPOSITE, Composite);
}

}  // namespace modelpress::tflite
