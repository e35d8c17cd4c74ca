// TensorFlow Lite to ONNX: see convert.h.
//
// The graph is translated operator by operator, plainly: what ONNX computes channels-first stands between two Transposes.
// Then the layout of the whole graph is chosen once (core/rewrite/layout.h) and what nobody reads is removed.
#include "core/formats/tflite/convert.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/base/utf8.h"
#include "core/formats/tflite/conversion.h"
#include "core/formats/tflite/labels.h"
#include "core/model/graph.h"
#include "core/rewrite/fold_integers.h"
#include "core/rewrite/layout.h"

namespace modelpress::tflite {
namespace {

constexpr uint64_t kMaxSearches = uint64_t{1} << 28;

std::string TensorName(const SourceTensor& tensor, const char* kind, int number) {
  return tensor.name.empty() ? absl::StrCat(kind, "_", number) : std::string(tensor.name);
}

// Inputs and outputs of types that ONNX tensors do not have stand in the way like operators.
void RefuseTypes(Conversion& conversion, const SourceGraph& graph) {
  const auto look = [&](const std::vector<int>& tensors, const char* kind) {
    for (const int index : tensors) {
      const SourceTensor& tensor = graph.tensors[index];
      const DataType type = ToOnnxType(tensor.type);
      if (type != DataType::kUndefined && type != DataType::kString) continue;
      conversion.refusals.Add(
          absl::StrCat(kind, " of type ", schema::EnumNameTensorType(tensor.type)),
          TensorName(tensor, kind, 0),
          Error(ERROR_REASON_OP_UNSUPPORTED, "this type is not known")
              .Remedy("keep text processing and tables outside of the model, and export the "
                      "numeric part"));
    }
  };
  look(graph.inputs, "input");
  look(graph.outputs, "output");
}

void Declare(const SourceTensor& tensor, const std::string& name, onnx::ValueInfoProto* value) {
  value->set_name(name);
  auto* tensor_type = value->mutable_type()->mutable_tensor_type();
  tensor_type->set_elem_type(static_cast<int32_t>(ToOnnxType(tensor.type)));
  // Where none is written the source's runtime makes a scalar, and ONNX asks for one.
  auto* shape = tensor_type->mutable_shape();
  for (size_t i = 0; i < tensor.shape.size(); ++i) {
    auto* dim = shape->add_dim();
    if (tensor.shape[i] >= 0) {
      dim->set_dim_value(tensor.shape[i]);
    } else {
      dim->set_dim_param(absl::StrCat(name, ".", i));
    }
  }
}

Error Invalid(std::string_view field, std::string_view message) {
  return Error(ERROR_REASON_RECIPE_INVALID, FormatString("import.{}: {}", field, message))
      .With("field", FormatString("import.{}", field));
}

// The signature of that key; null for an empty key.
absl::StatusOr<const Signature*> FindSignature(const SourceModel& source, std::string_view key) {
  if (key.empty()) return nullptr;
  std::string known;
  for (const Signature& signature : source.signatures) {
    if (signature.key == key) return &signature;
    absl::StrAppend(&known, known.empty() ? "" : ", ", std::string(signature.key));
  }
  return Invalid("signature", FormatString("the model has no signature \"{}\"", key))
      .Remedy(known.empty() ? "it has none at all: leave the option out"
                            : FormatString("it has: {}", known));
}

// What an input or output is called: as the signature says, else as the source's tensor.
std::string PublicName(const SourceGraph& graph, int tensor,
                       const std::vector<Signature::Entry>* entries, const char* kind, int number) {
  if (entries != nullptr) {
    for (const Signature::Entry& entry : *entries) {
      if (entry.tensor == tensor && !entry.name.empty()) return std::string(entry.name);
    }
  }
  return TensorName(graph.tensors[tensor], kind, number);
}

// Gives free extents of the input what the options say. `used` counts what was found.
absl::Status FixShape(const Import& options, const std::string& name, SourceTensor* tensor,
                      int* used) {
  for (const InputShape& wanted : options.input_shapes()) {
    if (wanted.input() != name) continue;
    ++*used;
    if (!tensor->has_shape || wanted.extents_size() != static_cast<int>(tensor->shape.size())) {
      return Invalid("input_shapes", FormatString("input \"{}\" has another number of axes", name))
          .Tensor(name);
    }
    for (int i = 0; i < wanted.extents_size(); ++i) {
      if (wanted.extents(i) < 1 ||
          (tensor->shape[i] != -1 && tensor->shape[i] != wanted.extents(i))) {
        return Invalid("input_shapes", FormatString("axis {} of input \"{}\" is {}, not {}", i,
                                                    name, tensor->shape[i], wanted.extents(i)))
            .Tensor(name)
            .Remedy("only axes that the model leaves free can be given an extent");
      }
      tensor->shape[i] = wanted.extents(i);
    }
  }
  return absl::OkStatus();
}

// Inputs of the ONNX graph for those of the source.
absl::Status DeclareInputs(GraphScope& scope, const Import& options, const Signature* signature,
                           onnx::GraphProto* graph) {
  Conversion& conversion = scope.conversion();
  int number = 0, shapes_used = 0;
  for (const int index : scope.graph().inputs) {
    const std::string name = conversion.builder.UniqueValue(
        PublicName(scope.graph(), index, signature == nullptr ? nullptr : &signature->inputs,
                   "input", number++));
    SourceTensor tensor = scope.graph().tensors[index];
    MP_RETURN_IF_ERROR(FixShape(options, name, &tensor, &shapes_used));
    if (options.input_shapes_size() > 0)
      scope.ReplaceTensor(index, &conversion.replaced.emplace_back(tensor));
    const bool turn =
        options.channels_first_inputs() && tensor.has_shape && tensor.shape.size() == 4;
    if (turn) {
      tensor.shape = {tensor.shape[0], tensor.shape[3], tensor.shape[1], tensor.shape[2]};
    }
    Declare(tensor, name, graph->add_input());
    scope.builder().SetScope(name);
    scope.Bind(index, turn ? scope.ChannelsLast(name, 4) : name);
  }
  if (shapes_used != options.input_shapes_size()) {
    std::string names;
    for (const auto& input : graph->input())
      absl::StrAppend(&names, names.empty() ? "" : ", ", input.name());
    return Invalid("input_shapes", "an input of that name does not exist")
        .Remedy(FormatString("inputs: {}", names));
  }
  return absl::OkStatus();
}

// States that outlive an inference become outputs behind those of the source.
void DeclareStates(GraphScope& scope, onnx::GraphProto* graph) {
  Conversion& conversion = scope.conversion();
  for (const std::string& key : conversion.state_order) {
    const State& state = conversion.variables.at(key);
    if (state.output.empty()) continue;
    conversion.notes.push_back(FormatString(
        "state \"{}\" is an input that is its first value by default, and an output", state.input));
    const std::string name =
        scope.builder().AsOutput(state.output, state.input + "_next", /*again=*/false);
    onnx::ValueInfoProto* value = graph->add_output();
    value->set_name(name);
    value->mutable_type()->mutable_tensor_type()->set_elem_type(static_cast<int32_t>(state.type));
    for (const int64_t extent : state.shape) {
      value->mutable_type()->mutable_tensor_type()->mutable_shape()->add_dim()->set_dim_value(
          extent);
    }
  }
}

// Texts that were appended to the file (labels) become properties of the model; other attachments are named and left out.
void AddMetadata(const SourceModel& source, onnx::ModelProto* model,
                 std::vector<std::string>* notes) {
  if (!source.description.empty()) model->set_doc_string(std::string(source.description));
  for (const AppendedFile& file : AppendedFiles(source.file->bytes())) {
    if (file.text.empty() || !IsUtf8(file.text)) {
      notes->push_back(
          FormatString("\"{}\", which is appended to the file, was left out", file.name));
      continue;
    }
    onnx::StringStringEntryProto* property = model->add_metadata_props();
    property->set_key(file.name);
    property->set_value(file.text);
    notes->push_back(FormatString(
        "\"{}\", which is appended to the file, became a property of the model", file.name));
  }
  for (const std::string_view name : source.metadata) {
    if (name == "min_runtime_version" || name == "CONVERSION_METADATA") continue;
    notes->push_back(FormatString("metadata \"{}\" was left out", name));
  }
}

// What the graph's outputs are called and are: each is made by a node of its own.
absl::Status DeclareOutputs(GraphScope& scope, const Signature* signature,
                            onnx::GraphProto* graph) {
  import::GraphBuilder& builder = scope.builder();
  const import::ModelBuilder& model = scope.conversion().builder;
  absl::flat_hash_set<std::string> used;
  absl::flat_hash_map<std::string, std::string> renamed;
  // Each output that is read as well is looked for in every node.
  if (scope.graph().outputs.size() * static_cast<uint64_t>(graph->node_size()) > kMaxSearches) {
    return Error(ERROR_REASON_MODEL_LIMIT, "the graph has too many outputs for its operators")
        .With("limit", std::to_string(kMaxSearches));
  }
  int number = 0;
  for (const int index : scope.graph().outputs) {
    const SourceTensor& tensor = scope.graph().tensors[index];
    MP_ASSIGN_OR_RETURN(std::string value, scope.Raw(index));
    value = model.Current(value);
    if (const auto found = renamed.find(value); found != renamed.end()) value = found->second;
    builder.SetScope(PublicName(scope.graph(), index,
                                signature == nullptr ? nullptr : &signature->outputs, "output",
                                number));
    const std::string name = builder.AsOutput(value, builder.scope(), used.contains(value));
    renamed[value] = name;
    value = name;
    used.insert(value);
    scope.Bind(index, value);
    onnx::ValueInfoProto* output = graph->add_output();
    Declare(tensor, value, output);
    // Inferred from the nodes: what the file says may be out of date where shapes are computed.
    output->mutable_type()->mutable_tensor_type()->clear_shape();
    ++number;
  }
  return absl::OkStatus();
}

// Extents of outputs that no inference found, as the source has them. OP_UNSUPPORTED where neither knows the rank, which ONNX
// asks for.
absl::Status CompleteShapes(const SourceGraph& source, onnx::GraphProto* graph) {
  for (size_t i = 0; i < source.outputs.size(); ++i) {
    const SourceTensor& tensor = source.tensors[source.outputs[i]];
    onnx::ValueInfoProto* output = graph->mutable_output(static_cast<int>(i));
    auto* type = output->mutable_type()->mutable_tensor_type();
    if (!tensor.has_shape && !type->has_shape()) {
      return Error(ERROR_REASON_OP_UNSUPPORTED, "the rank of an output is not known")
          .Tensor(output->name())
          .Remedy("export the model with shapes that are known");
    }
    if (!tensor.has_shape) continue;
    const int rank = static_cast<int>(tensor.shape.size());
    if (!type->has_shape()) {
      type->mutable_shape();
      for (int axis = 0; axis < rank; ++axis) type->mutable_shape()->add_dim();
    }
    if (type->shape().dim_size() != rank) continue;
    for (int axis = 0; axis < rank; ++axis) {
      auto* dim = type->mutable_shape()->mutable_dim(axis);
      if (!dim->has_dim_value() && !dim->has_dim_param() && tensor.shape[axis] >= 0) {
        dim->set_dim_value(tensor.shape[axis]);
      }
    }
  }
  return absl::OkStatus();
}

// The lowest version of the default domain, from 18 on, in which all nodes mean what they do: what older runtimes take,
// and newer ones (ONNX Runtime 1.32) fail to load some quantized models from version 21 on.
int64_t LowestOpset(const onnx::ModelProto& model) {
  absl::flat_hash_map<std::string_view, DataType> constants;
  for (const onnx::TensorProto& tensor : model.graph().initializer())
    constants[tensor.name()] = Type(tensor);
  int64_t lowest = 18;
  ForEachGraph(model, [&](const onnx::GraphProto& graph, int) {
    for (const onnx::NodeProto& node : graph.node()) {
      const std::string& op = node.op_type();
      if (op == "Gelu" || op == "DFT") lowest = std::max<int64_t>(lowest, 20);
      if (op != "QuantizeLinear" && op != "DequantizeLinear") continue;
      // Codes of 4 and 16 bits, and blocks. Zero points that are computed are DynamicQuantizeLinear's, of 8 bits.
      const auto zero = node.input_size() > 2 ? constants.find(node.input(2)) : constants.end();
      const bool known = zero == constants.end() ? node.input_size() > 2
                                                 : zero->second == DataType::kInt8 ||
                                                       zero->second == DataType::kUint8 ||
                                                       zero->second == DataType::kInt32;
      if (!known) lowest = kImportOpset;
    }
  });
  return lowest;
}

}  // namespace

absl::StatusOr<Model> ConvertModel(const SourceModel& source, const Import& options,
                                   const JobContext& context, std::vector<std::string>* notes) {
  Conversion conversion(source, context);
  MP_ASSIGN_OR_RETURN(const Signature* signature, FindSignature(source, options.signature()));
  if (signature != nullptr) conversion.main_graph = signature->graph;
  onnx::ModelProto& proto = conversion.builder.model().mutable_proto();
  proto.set_ir_version(10);
  proto.set_producer_name("modelpress");
  onnx::OperatorSetIdProto* opset = proto.add_opset_import();
  opset->set_domain("");
  opset->set_version(kImportOpset);
  onnx::GraphProto* graph = proto.mutable_graph();
  import::GraphBuilder builder(&conversion.builder, graph);
  GraphScope scope(&conversion, conversion.main_graph, &builder);
  graph->set_name(scope.graph().name.empty() ? "main" : std::string(scope.graph().name));
  RefuseTypes(conversion, scope.graph());
  MP_RETURN_IF_ERROR(DeclareInputs(scope, options, signature, graph));
  MP_RETURN_IF_ERROR(scope.TranslateOperators());
  if (!conversion.refusals.empty()) return conversion.refusals.ToStatus();
  MP_RETURN_IF_ERROR(DeclareOutputs(scope, signature, graph));
  DeclareStates(scope, graph);
  if (graph->output_size() == 0) {
    return Error(ERROR_REASON_MODEL_MALFORMED, "the graph has no outputs")
        .Remedy("the file may be damaged: export it again");
  }
  Model model = std::move(conversion.builder.model());
  FoldIntegers(model);
  RemoveDead(model.mutable_proto());
  MP_RETURN_IF_ERROR(OptimizeLayout(model, conversion.builder.arena(), context));
  RemoveDead(model.mutable_proto());
  const int64_t version = LowestOpset(model.proto());
  model.mutable_proto().mutable_opset_import(0)->set_version(version);
  // The format's version that came with the opset's: runtimes check both.
  model.mutable_proto().set_ir_version(version <= 18 ? 8 : version <= 20 ? 9 : 10);
  MP_RETURN_IF_ERROR(CompleteShapes(scope.graph(), model.mutable_proto().mutable_graph()));
  std::vector<std::string> found = std::move(conversion.notes);
  AddMetadata(source, &model.mutable_proto(), &found);
  for (std::string& note : TransposeNotes(model)) found.push_back(std::move(note));
  if (notes != nullptr) *notes = std::move(found);
  return model;
}

}  // namespace modelpress::tflite
