// The JSON of an exported program: see graph_reader.h.
#include "core/formats/pt2/graph_reader.h"

#include <limits>
#include <set>
#include <utility>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/formats/pt2/schema_json.h"
#include "core/formats/weights/json_text.h"

namespace modelpress::pt2 {
namespace {

using nlohmann::json;
using Kind = Argument::Kind;

constexpr int kMaxGraphDepth = 32;
constexpr size_t kMaxNodes = 1'000'000;
// torch 2.3 wrote version 5, torch 2.6 version 8: what is read here did not change in between.
constexpr int64_t kOldestSchema = 5, kNewestSchema = 8;
// {"as_name": ...} or {"as_int": ...}, "as_bool", "as_float".
struct Symbolic {
  std::string name;
  const json* value = nullptr;
};
absl::StatusOr<Symbolic> ParseSymbolic(const json& value, std::string_view plain) {
  Symbolic result;
  if (Member(value, "as_name") != nullptr) {
    MP_ASSIGN_OR_RETURN(result.name, Text(value, "as_name"));
    return result;
  }
  result.value = Member(value, plain);
  if (result.value == nullptr) return Bad("a symbolic value is neither a name nor a number");
  return result;
}

// One graph and those in it, with the names that are known so far.
class GraphParser {
 public:
  explicit GraphParser(int depth, size_t* nodes) : depth_(depth), nodes_(*nodes) {}

  absl::StatusOr<Graph> Parse(const json& source) {
    if (depth_ > kMaxGraphDepth) {
      return Error(ERROR_REASON_MODEL_LIMIT, "graphs of the exported program are nested too deeply")
          .With("limit", std::to_string(kMaxGraphDepth));
    }
    const json *inputs = Member(source, "inputs"), *outputs = Member(source, "outputs"),
               *nodes = Member(source, "nodes"), *tensors = Member(source, "tensor_values");
    if (inputs == nullptr || outputs == nullptr || nodes == nullptr || tensors == nullptr ||
        !inputs->is_array() || !outputs->is_array() || !nodes->is_array() ||
        !tensors->is_object()) {
      return Bad("a graph lacks inputs, outputs, nodes or tensor_values");
    }
    for (const auto& [name, meta] : tensors->items()) {
      MP_ASSIGN_OR_RETURN(graph_.tensors[name], ParseTensorMeta(meta));
    }
    if (const json* integers = Member(source, "sym_int_values");
        integers != nullptr && integers->is_object()) {
      for (const auto& [name, value] : integers->items()) {
        MP_ASSIGN_OR_RETURN(graph_.integers[name], ParseExtent(value));
      }
    }
    for (const json& input : *inputs) {
      MP_ASSIGN_OR_RETURN(graph_.inputs.emplace_back(), ParseArgument(input));
      MP_RETURN_IF_ERROR(Make(graph_.inputs.back()));
    }
    for (const json& node : *nodes) MP_RETURN_IF_ERROR(ParseNode(node));
    for (const json& output : *outputs) {
      MP_ASSIGN_OR_RETURN(graph_.outputs.emplace_back(), ParseArgument(output));
      MP_RETURN_IF_ERROR(Read(graph_.outputs.back()));
    }
    return std::move(graph_);
  }

  absl::StatusOr<Argument> ParseArgument(const json& value);

 private:
  absl::Status ParseNode(const json& source) {
    if (++nodes_ > kMaxNodes) {
      return Error(ERROR_REASON_MODEL_LIMIT, "the exported program has more than 1,000,000 nodes");
    }
    Node node;
    MP_ASSIGN_OR_RETURN(node.target, Text(source, "target"));
    const json *inputs = Member(source, "inputs"), *outputs = Member(source, "outputs");
    if (inputs == nullptr || outputs == nullptr || !inputs->is_array() || !outputs->is_array()) {
      return Bad(FormatString("a node {} lacks inputs or outputs", node.target));
    }
    for (const json& input : *inputs) {
      const json* argument = Member(input, "arg");
      if (argument == nullptr)
        return Bad(FormatString("an input of a node {} has no arg", node.target));
      MP_ASSIGN_OR_RETURN(std::string name, Text(input, "name"));
      MP_ASSIGN_OR_RETURN(Argument parsed, ParseArgument(*argument));
      MP_RETURN_IF_ERROR(Read(parsed));
      node.inputs.emplace_back(std::move(name), std::move(parsed));
    }
    for (const json& output : *outputs) {
      MP_ASSIGN_OR_RETURN(node.outputs.emplace_back(), ParseArgument(output));
      MP_RETURN_IF_ERROR(Make(node.outputs.back()));
    }
    graph_.nodes.push_back(std::move(node));
    return absl::OkStatus();
  }

  absl::Status MakeTensor(const std::string& name) {
    if (name.empty()) return absl::OkStatus();
    if (!graph_.tensors.contains(name))
      return Bad(FormatString("nothing is said about tensor '{}'", name));
    return MakeName(name);
  }

  absl::Status MakeName(const std::string& name) {
    if (name.empty() || made_.insert(name).second) return absl::OkStatus();
    return Bad(FormatString("'{}' is made twice", name));
  }

  absl::Status Make(const Argument& output) {
    if (output.kind == Kind::kTensor) return MakeTensor(output.text);
    for (const std::string& name : output.names) MP_RETURN_IF_ERROR(MakeTensor(name));
    MP_RETURN_IF_ERROR(MakeName(output.text));
    for (const SymInt& value : output.ints) MP_RETURN_IF_ERROR(MakeName(value.name));
    return absl::OkStatus();
  }

  absl::Status ReadName(const std::string& name) const {
    if (name.empty() || made_.contains(name)) return absl::OkStatus();
    return Bad(FormatString("'{}' is read before it is made", name));
  }

  absl::Status Read(const Argument& input) const {
    switch (input.kind) {
      case Kind::kTensor:
      case Kind::kSymInt:
      case Kind::kSymBool:
      case Kind::kSymFloat:
        return input.text.empty() ? Bad("an argument has an empty name") : ReadName(input.text);
      default:
        break;
    }
    for (const std::string& name : input.names) MP_RETURN_IF_ERROR(ReadName(name));
    for (const SymInt& value : input.ints) MP_RETURN_IF_ERROR(ReadName(value.name));
    return absl::OkStatus();
  }

  absl::StatusOr<Argument> ParseList(std::string_view kind, const json& list);

  int depth_;
  size_t& nodes_;
  Graph graph_;
  std::set<std::string, std::less<>> made_;
};

absl::StatusOr<Argument> GraphParser::ParseList(std::string_view kind, const json& list) {
  MP_RETURN_IF_ERROR(Array(list).status());
  Argument argument;
  for (const json& item : list) {
    if (kind == "as_tensors") {
      argument.kind = Kind::kTensors;
      MP_ASSIGN_OR_RETURN(argument.names.emplace_back(), Text(item, "name"));
    } else if (kind == "as_optional_tensors") {
      argument.kind = Kind::kTensors;
      argument.names.emplace_back();
      // Version 5 has the name alone.
      if (const json* tensor = Member(item, "as_tensor");
          tensor != nullptr && tensor->is_string()) {
        argument.names.back() = tensor->get<std::string>();
      } else if (tensor != nullptr) {
        MP_ASSIGN_OR_RETURN(argument.names.back(), Text(*tensor, "name"));
      }
    } else if (kind == "as_ints") {
      argument.kind = Kind::kInts;
      MP_ASSIGN_OR_RETURN(argument.ints.emplace_back().value, Int(item));
    } else if (kind == "as_sym_ints") {
      argument.kind = Kind::kInts;
      MP_ASSIGN_OR_RETURN(Symbolic value, ParseSymbolic(item, "as_int"));
      SymInt& added = argument.ints.emplace_back();
      added.name = std::move(value.name);
      if (value.value != nullptr) {
        MP_ASSIGN_OR_RETURN(added.value, Int(*value.value));
      }
    } else if (kind == "as_floats") {
      argument.kind = Kind::kFloats;
      MP_ASSIGN_OR_RETURN(argument.floats.emplace_back(), Float(item));
    } else if (kind == "as_sym_floats") {
      argument.kind = Kind::kFloats;
      MP_ASSIGN_OR_RETURN(const Symbolic value, ParseSymbolic(item, "as_float"));
      if (value.value == nullptr) return Argument{.kind = Kind::kOther};
      MP_ASSIGN_OR_RETURN(argument.floats.emplace_back(), Float(*value.value));
    } else if (kind == "as_bools") {
      argument.kind = Kind::kBools;
      if (!item.is_boolean()) return Bad("a truth value is none");
      argument.bools.push_back(item.get<bool>());
    } else {
      argument.kind = Kind::kOther;
    }
  }
  if (list.empty()) {
    argument.kind = kind.ends_with("tensors")  ? Kind::kTensors
                    : kind.ends_with("ints")   ? Kind::kInts
                    : kind.ends_with("floats") ? Kind::kFloats
                    : kind == "as_bools"       ? Kind::kBools
                                               : Kind::kOther;
  }
  return argument;
}

absl::StatusOr<Argument> GraphParser::ParseArgument(const json& value) {
  if (!value.is_object() || value.empty()) return Bad("an argument is no union");
  // Unions may be written with all members, the others null.
  auto member = value.begin();
  while (member != value.end() && member->is_null()) ++member;
  if (member == value.end()) return Argument{};
  const std::string& kind = member.key();
  const json& content = *member;
  Argument argument;
  if (kind == "as_none") return argument;
  if (kind == "as_tensor") {
    argument.kind = Kind::kTensor;
    MP_ASSIGN_OR_RETURN(argument.text, Text(content, "name"));
    return argument;
  }
  if (kind == "as_optional_tensor") return ParseArgument(content);
  if (kind == "as_int") {
    argument.kind = Kind::kInt;
    MP_ASSIGN_OR_RETURN(argument.ints.emplace_back().value, Int(content));
    return argument;
  }
  if (kind == "as_float") {
    argument.kind = Kind::kFloat;
    MP_ASSIGN_OR_RETURN(argument.floats.emplace_back(), Float(content));
    return argument;
  }
  if (kind == "as_bool") {
    if (!content.is_boolean()) return Bad("a truth value is none");
    argument.kind = Kind::kBool;
    argument.bools.push_back(content.get<bool>());
    return argument;
  }
  if (kind == "as_string") {
    if (!content.is_string()) return Bad("a text is none");
    argument.kind = Kind::kText;
    argument.text = content.get<std::string>();
    return argument;
  }
  if (kind == "as_scalar_type") {
    argument.kind = Kind::kScalarType;
    MP_ASSIGN_OR_RETURN(const int64_t type, Int(content));
    argument.scalar_type =
        type >= 0 && type < 64 ? static_cast<ScalarType>(type) : ScalarType::kUnknown;
    return argument;
  }
  if (kind == "as_sym_int" || kind == "as_sym_bool" || kind == "as_sym_float") {
    const std::string_view plain = kind == "as_sym_int"    ? "as_int"
                                   : kind == "as_sym_bool" ? "as_bool"
                                                           : "as_float";
    MP_ASSIGN_OR_RETURN(Symbolic symbolic, ParseSymbolic(content, plain));
    if (symbolic.value != nullptr)
      return ParseArgument(json{{std::string(plain), *symbolic.value}});
    argument.kind = kind == "as_sym_int"    ? Kind::kSymInt
                    : kind == "as_sym_bool" ? Kind::kSymBool
                                            : Kind::kSymFloat;
    argument.text = std::move(symbolic.name);
    return argument;
  }
  if (kind == "as_graph") {
    const json* graph = Member(content, "graph");
    if (graph == nullptr) return Bad("a graph argument has no graph");
    argument.kind = Kind::kGraph;
    MP_ASSIGN_OR_RETURN(Graph parsed, GraphParser(depth_ + 1, &nodes_).Parse(*graph));
    argument.graph = std::make_shared<const Graph>(std::move(parsed));
    return argument;
  }
  if (content.is_array()) return ParseList(kind, content);
  argument.kind = Kind::kOther;
  return argument;
}

// Constants of the signature are arguments of the schema's union ConstantValue or Argument; a name is enough.
absl::StatusOr<Argument> ParseSpecArgument(const json& content) {
  const json* argument = Member(content, "arg");
  if (argument == nullptr) return Bad("an entry of the signature has no arg");
  if (Member(*argument, "name") != nullptr) {
    Argument named{.kind = Kind::kTensor};
    MP_ASSIGN_OR_RETURN(named.text, Text(*argument, "name"));
    return named;
  }
  size_t nodes = 0;
  return GraphParser(0, &nodes).ParseArgument(*argument);
}

absl::StatusOr<InputSpec> ParseInputSpec(const json& source) {
  if (!source.is_object() || source.empty()) return Bad("an input of the signature is no union");
  const auto member = source.begin();
  InputSpec spec{.what = member.key()};
  if (member.key() == "constant_input" || member.key() == "token") {
    spec.kind = InputSpec::Kind::kOther;
    return spec;
  }
  MP_ASSIGN_OR_RETURN(spec.argument, ParseSpecArgument(*member));
  if (member.key() == "user_input") return spec;
  if (member.key() == "parameter") {
    spec.kind = InputSpec::Kind::kParameter;
    MP_ASSIGN_OR_RETURN(spec.target, Text(*member, "parameter_name"));
  } else if (member.key() == "buffer") {
    spec.kind = InputSpec::Kind::kBuffer;
    MP_ASSIGN_OR_RETURN(spec.target, Text(*member, "buffer_name"));
  } else if (member.key() == "tensor_constant") {
    spec.kind = InputSpec::Kind::kConstant;
    MP_ASSIGN_OR_RETURN(spec.target, Text(*member, "tensor_constant_name"));
  } else {
    spec.kind = InputSpec::Kind::kOther;
  }
  return spec;
}

absl::StatusOr<OutputSpec> ParseOutputSpec(const json& source) {
  if (!source.is_object() || source.empty()) return Bad("an output of the signature is no union");
  const auto member = source.begin();
  OutputSpec spec;
  if (member.key() == "user_output") {
    MP_ASSIGN_OR_RETURN(spec.argument, ParseSpecArgument(*member));
  } else if (member.key() == "buffer_mutation") {
    spec.kind = OutputSpec::Kind::kBufferMutation;
    MP_ASSIGN_OR_RETURN(spec.argument, ParseSpecArgument(*member));
    MP_ASSIGN_OR_RETURN(spec.target, Text(*member, "buffer_name"));
  } else if (member.key() == "user_input_mutation") {
    spec.kind = OutputSpec::Kind::kInputMutation;
    MP_ASSIGN_OR_RETURN(spec.argument, ParseSpecArgument(*member));
    MP_ASSIGN_OR_RETURN(spec.target, Text(*member, "user_input_name"));
  } else {
    spec.kind = OutputSpec::Kind::kOther;
  }
  return spec;
}

}  // namespace

absl::StatusOr<Program> ParseProgram(std::string_view text) {
  // Stack traces and module paths are most of the text, and of no use here.
  const auto drop = [](std::string_view key) {
    return key == "stack_trace" || key == "nn_module_stack" || key == "torch_fn" ||
           key == "source_fn_stack" || key == "from_node" || key == "module_call_graph";
  };
  MP_ASSIGN_OR_RETURN(const json root, ParseJson(text, "the exported program", drop));
  const json *schema = Member(root, "schema_version"), *module = Member(root, "graph_module");
  if (module == nullptr) return Bad("it has no graph_module");
  if (schema != nullptr && schema->is_object()) {
    const json* major = Member(*schema, "major");
    if (major == nullptr || !major->is_number_integer() || *major < kOldestSchema ||
        *major > kNewestSchema) {
      return Error(ERROR_REASON_FORMAT_UNSUPPORTED,
                   FormatString(
                       "the exported program has schema version {}, this build reads {} to {}",
                       major == nullptr ? "none" : major->dump(), kOldestSchema, kNewestSchema))
          .With("format", "pt2")
          .Remedy("export the model with torch 2.3 to 2.9");
    }
  }
  const json *graph = Member(*module, "graph"), *signature = Member(*module, "signature");
  if (graph == nullptr || signature == nullptr) return Bad("it has no graph or signature");
  Program program;
  if (const json* version = Member(root, "torch_version");
      version != nullptr && version->is_string()) {
    program.torch_version = version->get<std::string>();
  }
  size_t nodes = 0;
  MP_ASSIGN_OR_RETURN(program.graph, GraphParser(0, &nodes).Parse(*graph));
  const json *inputs = Member(*signature, "input_specs"),
             *outputs = Member(*signature, "output_specs");
  if (inputs == nullptr || outputs == nullptr || !inputs->is_array() || !outputs->is_array()) {
    return Bad("the signature has no input_specs or output_specs");
  }
  for (const json& input : *inputs) {
    MP_ASSIGN_OR_RETURN(program.inputs.emplace_back(), ParseInputSpec(input));
  }
  for (const json& output : *outputs) {
    MP_ASSIGN_OR_RETURN(program.outputs.emplace_back(), ParseOutputSpec(output));
  }
  if (program.inputs.size() != program.graph.inputs.size() ||
      program.outputs.size() != program.graph.outputs.size()) {
    return Bad("the signature has another number of inputs or outputs than the graph");
  }
  for (size_t i = 0; i < program.inputs.size(); ++i) {
    const Argument& argument = program.graph.inputs[i];
    InputSpec& spec = program.inputs[i];
    if (spec.kind == InputSpec::Kind::kOther) continue;
    const bool number = spec.kind == InputSpec::Kind::kUser && argument.kind != Kind::kTensor;
    if (!number && (argument.kind != Kind::kTensor || argument.text != spec.argument.text)) {
      return Bad(FormatString("input {} of the graph is not what the signature says", i));
    }
  }
  return program;
}

}  // namespace modelpress::pt2
