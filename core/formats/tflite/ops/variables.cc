// Resource variables: CALL_ONCE, VAR_HANDLE, READ_VARIABLE, ASSIGN_VARIABLE (all versions, numeric types).
//
// A variable that nothing but the CALL_ONCE graph writes is the constant that it writes. One that the model writes is an
// input, whose default is that constant, and an output. Tables (HASHTABLE and the like) are refused.
#include "absl/strings/str_cat.h"
#include "core/formats/tflite/operator.h"

namespace modelpress::tflite {
namespace {

std::string Key(const SourceOperator& op) {
  const auto* options = op.table->builtin_options_as_VarHandleOptions();
  const auto text = [](const flatbuffers::String* string) {
    return string == nullptr ? std::string() : string->str();
  };
  return options == nullptr
             ? "/"
             : absl::StrCat(text(options->container()), "/", text(options->shared_name()));
}

// The handle's operator in the same graph.
absl::StatusOr<std::string> KeyOf(OperatorContext& c, int handle) {
  const SourceOperator* op = c.scope().MakerOf(handle);
  if (op != nullptr && op->code == BuiltinOperator::VAR_HANDLE) return Key(*op);
  return c.Unsupported("its variable is handed on from another graph");
}

bool IsWritten(OperatorContext& c, const std::string& key) {
  Conversion& conversion = c.conversion();
  if (!conversion.written.has_value()) {
    conversion.written.emplace();
    const GraphScope main(&conversion, conversion.main_graph, &c.builder());
    for (const SourceOperator& op : main.graph().operators) {
      if (op.code != BuiltinOperator::ASSIGN_VARIABLE || op.inputs.empty() || op.inputs[0] < 0)
        continue;
      const SourceOperator* handle = main.MakerOf(op.inputs[0]);
      if (handle != nullptr && handle->code == BuiltinOperator::VAR_HANDLE)
        conversion.written->insert(Key(*handle));
    }
  }
  return conversion.written->contains(key);
}

absl::Status VarHandle(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(0, 1));
  c.scope().Bind(c.op().outputs[0], "resource");  // read by nothing but the operators below
  return absl::OkStatus();
}

// The graph of CALL_ONCE: constants into variables, nothing else.
absl::Status CallOnce(OperatorContext& c) {
  const int index = c.Options<schema::CallOnceOptions>().init_subgraph_index();
  const auto& graphs = c.conversion().source.graphs;
  if (index < 0 || static_cast<size_t>(index) >= graphs.size())
    return c.Malformed("its graph does not exist");
  GraphScope scope(&c.conversion(), index, &c.builder());
  for (const SourceOperator& op : graphs[index].operators) {
    if (op.code == BuiltinOperator::VAR_HANDLE) continue;
    if (op.code != BuiltinOperator::ASSIGN_VARIABLE || op.inputs.size() != 2 || op.inputs[1] < 0) {
      return c.Unsupported(absl::StrCat("its graph has an operator ", op.name()),
                           "tables are no part of ONNX models: export the model without them");
    }
    OperatorContext inner(&scope, &op);
    if (!inner.IsConstant(1)) return c.Unsupported("it does not set a variable to a constant");
    MP_ASSIGN_OR_RETURN(const std::string key, KeyOf(inner, op.inputs[0]));
    State& state = c.conversion().variables[key];
    MP_ASSIGN_OR_RETURN(state.input, inner.Raw(1));
    state.type = ToOnnxType(inner.Source(1).type);
    state.shape = inner.Source(1).shape;
    if (!IsWritten(c, key)) continue;
    // A constant of its own, as the caller may replace it.
    MP_ASSIGN_OR_RETURN(state.input, c.model().Weight(key.substr(key.find('/') + 1), state.type,
                                                      state.shape, inner.Source(1).data));
    onnx::ValueInfoProto* value = c.builder().graph().add_input();
    value->set_name(state.input);
    auto* type = value->mutable_type()->mutable_tensor_type();
    type->set_elem_type(static_cast<int32_t>(state.type));
    type->mutable_shape();
    for (const int64_t extent : state.shape)
      type->mutable_shape()->add_dim()->set_dim_value(extent);
    c.conversion().state_order.push_back(key);
  }
  return absl::OkStatus();
}

absl::Status ReadVariable(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(1, 1));
  MP_ASSIGN_OR_RETURN(const std::string key, KeyOf(c, c.op().inputs[0]));
  const State& state = c.conversion().variables[key];
  if (state.input.empty() && state.output.empty())
    return c.Unsupported("its variable is read before it is written");
  return c.OutRaw(0, state.output.empty() ? state.input : state.output);
}

absl::Status AssignVariable(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(2, 0));
  if (c.conversion().depth > 0)
    return c.Unsupported("it writes a variable inside of a loop or branch");
  MP_ASSIGN_OR_RETURN(const std::string key, KeyOf(c, c.op().inputs[0]));
  State& state = c.conversion().variables[key];
  MP_ASSIGN_OR_RETURN(const std::string value, c.Raw(1));
  state.output = c.Add("Identity", {value});
  return absl::OkStatus();
}

}  // namespace

void RegisterTfliteOperators_variables(OperatorRegistry& registry) {
  registry.Add(BuiltinOperator::VAR_HANDLE, VarHandle);
  registry.Add(BuiltinOperator::CALL_ONCE, CallOnce);
  registry.Add(BuiltinOperator::READ_VARIABLE, ReadVariable);
  registry.Add(BuiltinOperator::ASSIGN_VARIABLE, AssignVariable);
}

}  // namespace modelpress::tflite
