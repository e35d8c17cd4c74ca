// PyTorch exported programs to ONNX: see convert.h.
#include "core/formats/pt2/convert.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/formats/onnx/validate.h"
#include "core/formats/pt2/conversion.h"
#include "core/formats/pt2/expression.h"
#include "core/model/graph.h"
#include "core/rewrite/clean_up.h"
#include "core/rewrite/fold_integers.h"
#include "core/rewrite/fold_views.h"
#include "core/rewrite/layout.h"
#include "core/rewrite/merge_nodes.h"
#include "core/rewrite/merge_views.h"
#include "core/rewrite/value_shapes.h"

namespace modelpress::pt2 {
namespace {

using Kind = Argument::Kind;

Error Invalid(std::string_view field, std::string_view message) {
  return Error(ERROR_REASON_RECIPE_INVALID, FormatString("import.{}: {}", field, message))
      .With("field", FormatString("import.{}", field));
}

absl::Status Declare(const TensorMeta& meta, const std::string& name, onnx::ValueInfoProto* value) {
  const DataType type = ToOnnxType(meta.type);
  if (type == DataType::kUndefined || IsComplex(meta.type)) {
    return Error(ERROR_REASON_OP_UNSUPPORTED,
                 FormatString("inputs and outputs of type {} are not known",
                              ScalarTypeName(meta.type)))
        .Tensor(name)
        .With("rule", "tensor type")
        .Remedy("let the module take and give real tensors (torch.view_as_real)");
  }
  value->set_name(name);
  auto* tensor_type = value->mutable_type()->mutable_tensor_type();
  tensor_type->set_elem_type(static_cast<int32_t>(type));
  auto* shape = tensor_type->mutable_shape();
  for (const Extent& extent : meta.sizes) {
    auto* dim = shape->add_dim();
    if (extent.value.has_value()) {
      dim->set_dim_value(*extent.value);
    } else if (const std::string symbol = SymbolName(extent.expression); !symbol.empty()) {
      dim->set_dim_param(symbol);
    }
  }
  return absl::OkStatus();
}

// What the options say of free extents, as values of symbols.
absl::Status FixSymbols(const Program& program, const Import& options, Conversion* conversion) {
  std::string names;
  for (const InputSpec& spec : program.inputs) {
    if (spec.kind == InputSpec::Kind::kUser)
      absl::StrAppend(&names, names.empty() ? "" : ", ", spec.argument.text);
  }
  for (const InputShape& wanted : options.input_shapes()) {
    const auto found = program.graph.tensors.find(wanted.input());
    bool is_input = false;
    for (const InputSpec& spec : program.inputs) {
      is_input |= spec.kind == InputSpec::Kind::kUser && spec.argument.text == wanted.input();
    }
    if (!is_input || found == program.graph.tensors.end()) {
      return Invalid("input_shapes", FormatString("an input \"{}\" does not exist", wanted.input()))
          .Remedy(FormatString("inputs: {}", names));
    }
    const std::vector<Extent>& sizes = found->second.sizes;
    if (wanted.extents_size() != static_cast<int>(sizes.size())) {
      return Invalid("input_shapes",
                     FormatString("input \"{}\" has another number of axes", wanted.input()))
          .Tensor(wanted.input());
    }
    for (int i = 0; i < wanted.extents_size(); ++i) {
      const Extent& size = sizes[static_cast<size_t>(i)];
      const std::string symbol = SymbolName(size.expression);
      constexpr int64_t kMost = int64_t{1} << 40;
      if (wanted.extents(i) < 1 || wanted.extents(i) > kMost ||
          (size.value.has_value() && *size.value != wanted.extents(i))) {
        return Invalid("input_shapes",
                       FormatString("axis {} of input \"{}\" is {}, not {}", i, wanted.input(),
                                    size.value.value_or(-1), wanted.extents(i)))
            .Tensor(wanted.input())
            .Remedy("only axes that the model leaves free can be given an extent");
      }
      if (symbol.empty()) continue;
      const auto [place, added] = conversion->symbols.emplace(symbol, wanted.extents(i));
      if (!added && place->second != wanted.extents(i)) {
        return Invalid("input_shapes",
                       FormatString("{} is {} and {}", symbol, place->second, wanted.extents(i)))
            .Tensor(wanted.input());
      }
    }
  }
  return absl::OkStatus();
}

absl::Status CheckOptions(const Import& options) {
  if (!options.signature().empty()) {
    return Invalid("signature", "an exported program has one signature")
        .Remedy("leave the option out");
  }
  if (options.channels_first_inputs()) {
    return Invalid("channels_first_inputs", "the layout of a PyTorch model's inputs is kept")
        .Remedy("leave the option out");
  }
  return absl::OkStatus();
}

// A weight of the program, which is what the graph says of it.
absl::Status CheckWeight(const Program& program, const InputSpec& spec, const TensorMeta& meta) {
  const auto found = program.weights.find(spec.target);
  if (found == program.weights.end()) {
    return Error(ERROR_REASON_MODEL_MALFORMED,
                 FormatString("the archive lacks the weight '{}'", spec.target))
        .Tensor(spec.target);
  }
  const NamedTensor& weight = found->second;
  if (weight.type != ToOnnxType(meta.type) || !meta.is_static() || weight.dims != meta.dims()) {
    return Error(ERROR_REASON_MODEL_MALFORMED,
                 FormatString("the weight '{}' has another type or shape than the graph says",
                              spec.target))
        .Tensor(spec.target);
  }
  if (IsComplex(meta.type)) {
    return Error(ERROR_REASON_OP_UNSUPPORTED,
                 FormatString("the weight '{}' is complex", spec.target))
        .Tensor(spec.target);
  }
  return absl::OkStatus();
}

absl::Status DeclareInputs(GraphScope& scope, onnx::GraphProto* graph) {
  const Program& program = scope.conversion().program;
  for (size_t i = 0; i < program.inputs.size(); ++i) {
    const InputSpec& spec = program.inputs[i];
    const Argument& argument = program.graph.inputs[i];
    switch (spec.kind) {
      case InputSpec::Kind::kUser: {
        if (argument.kind != Kind::kTensor && argument.kind != Kind::kSymInt) {
          scope.conversion().notes.push_back(
              FormatString("input {}, a constant of the export, is no input of the model", i));
          break;
        }
        const std::string name = scope.conversion().builder.UniqueValue(argument.text);
        TensorMeta integer{.type = ScalarType::kInt64};
        MP_RETURN_IF_ERROR(
            Declare(argument.kind == Kind::kTensor ? scope.Meta(argument.text) : integer, name,
                    graph->add_input()));
        scope.Bind(argument.text, name);
        break;
      }
      case InputSpec::Kind::kParameter:
      case InputSpec::Kind::kBuffer:
      case InputSpec::Kind::kConstant:
        MP_RETURN_IF_ERROR(CheckWeight(program, spec, scope.Meta(argument.text)));
        scope.BindWeight(argument.text, spec.target);
        if (spec.kind != InputSpec::Kind::kConstant)
          scope.conversion().module_weights.insert(spec.target);
        break;
      case InputSpec::Kind::kOther:
        if (argument.kind == Kind::kTensor) {
          return Error(ERROR_REASON_OP_UNSUPPORTED,
                       FormatString("the model has an input of kind {}", spec.what))
              .Op(spec.what);
        }
        break;
    }
  }
  return absl::OkStatus();
}

class OutputMaker {
 public:
  OutputMaker(GraphScope* scope, onnx::GraphProto* graph) : scope_(*scope), graph_(*graph) {}

  absl::Status Add(const Argument& argument, const std::string& wanted) {
    MP_ASSIGN_OR_RETURN(std::string value, scope_.Value(argument.text));
    if (const auto found = renamed_.find(value); found != renamed_.end()) value = found->second;
    scope_.builder().SetScope(wanted);
    const std::string name = scope_.builder().AsOutput(value, wanted, used_.contains(value));
    renamed_[value] = name;
    used_.insert(name);
    TensorMeta integer{.type = ScalarType::kInt64};
    metas_.push_back(argument.kind == Kind::kTensor ? scope_.Meta(argument.text) : integer);
    MP_RETURN_IF_ERROR(Declare(metas_.back(), name, graph_.add_output()));
    // Inferred from the nodes: what the program says of states of recurrent layers is not always so.
    graph_.mutable_output(graph_.output_size() - 1)
        ->mutable_type()
        ->mutable_tensor_type()
        ->clear_shape();
    return absl::OkStatus();
  }

  // What the program says of the outputs, in their order.
  const std::vector<TensorMeta>& metas() const { return metas_; }

 private:
  GraphScope& scope_;
  onnx::GraphProto& graph_;
  std::vector<TensorMeta> metas_;
  absl::flat_hash_set<std::string> used_;
  absl::flat_hash_map<std::string, std::string> renamed_;
};

// A buffer that changes: its value before is an input with the stored one as default, its value after is an output.
absl::Status DeclareState(GraphScope& scope, const InputSpec& buffer, const Argument& changed,
                          OutputMaker* outputs, onnx::GraphProto* graph) {
  const std::string& name = buffer.argument.text;
  const std::string stored = scope.WeightValue(name);
  if (!stored.empty()) MP_RETURN_IF_ERROR(Declare(scope.Meta(name), stored, graph->add_input()));
  scope.conversion().notes.push_back(
      FormatString("buffer \"{}\" changes: it is an input with its value as default, and an output",
                   buffer.target));
  return outputs->Add(changed, buffer.target + "_next");
}

// Shapes of outputs: inferred where that finds their rank, with what the program knows of extents beyond it.
absl::Status CompleteOutputs(const std::vector<TensorMeta>& metas, onnx::ModelProto* model) {
  const auto shapes = InferValueShapes(*model);
  onnx::GraphProto* graph = model->mutable_graph();
  const auto main = shapes.find(graph);
  for (size_t i = 0; i < metas.size(); ++i) {
    onnx::ValueInfoProto* output = graph->mutable_output(static_cast<int>(i));
    const std::string name = output->name();
    MP_RETURN_IF_ERROR(Declare(metas[i], name, output));
    if (main == shapes.end()) continue;
    const auto found = main->second.find(name);
    if (found == main->second.end()) continue;
    const std::vector<int64_t>& dims = found->second.dims;
    auto* shape = output->mutable_type()->mutable_tensor_type()->mutable_shape();
    const bool same_rank = static_cast<int>(dims.size()) == shape->dim_size();
    if (!same_rank) shape->clear_dim();
    for (size_t axis = 0; axis < dims.size(); ++axis) {
      auto* dim = same_rank ? shape->mutable_dim(static_cast<int>(axis)) : shape->add_dim();
      if (dims[axis] >= 0) dim->set_dim_value(dims[axis]);
    }
  }
  // What was inferred in between is of no use to readers of the model.
  ForEachGraph(*model, [](onnx::GraphProto& inner, int) { inner.clear_value_info(); });
  return absl::OkStatus();
}

absl::Status DeclareOutputs(GraphScope& scope, onnx::GraphProto* graph,
                            std::vector<TensorMeta>* metas) {
  const Program& program = scope.conversion().program;
  OutputMaker outputs(&scope, graph);
  std::set<std::string> states;
  for (size_t i = 0; i < program.outputs.size(); ++i) {
    const OutputSpec& spec = program.outputs[i];
    const Argument& argument = program.graph.outputs[i];
    if (spec.kind != OutputSpec::Kind::kUser) continue;
    if (argument.kind != Kind::kTensor && argument.kind != Kind::kSymInt) {
      scope.conversion().notes.push_back(
          FormatString("output {}, which is no tensor, was left out", i));
      continue;
    }
    MP_RETURN_IF_ERROR(outputs.Add(argument, argument.text));
  }
  for (size_t i = 0; i < program.outputs.size(); ++i) {
    const OutputSpec& spec = program.outputs[i];
    if (spec.kind == OutputSpec::Kind::kInputMutation) {
      scope.conversion().notes.push_back(
          FormatString("the new value of input \"{}\" is an output", spec.target));
      MP_RETURN_IF_ERROR(outputs.Add(program.graph.outputs[i], spec.target + "_next"));
    }
    if (spec.kind != OutputSpec::Kind::kBufferMutation) continue;
    for (const InputSpec& input : program.inputs) {
      if (input.kind != InputSpec::Kind::kBuffer || input.target != spec.target) continue;
      states.insert(input.target);
      MP_RETURN_IF_ERROR(DeclareState(scope, input, program.graph.outputs[i], &outputs, graph));
    }
  }
  for (const InputSpec& input : program.inputs) {
    const bool written = scope.written_roots().contains(input.argument.text);
    if (!written || states.contains(input.target)) continue;
    if (input.kind == InputSpec::Kind::kBuffer) {
      MP_RETURN_IF_ERROR(DeclareState(scope, input, input.argument, &outputs, graph));
    } else if (input.kind == InputSpec::Kind::kUser) {
      scope.conversion().notes.push_back(FormatString(
          "the module writes into its input \"{}\": the caller's tensor stays as it is",
          input.argument.text));
    }
  }
  *metas = outputs.metas();
  return absl::OkStatus();
}

// What plain translation leaves behind: arithmetic on shapes, constants to be reshaped, the same computed twice, and
// Transposes that cancel each other.
absl::Status CleanUpGraph(Model& model, WeightArena& arena, const JobContext& context) {
  MP_RETURN_IF_ERROR(FoldViews(model, arena));
  MergeEqualNodes(model);
  RemoveDead(model.mutable_proto());
  MP_RETURN_IF_ERROR(MergeViews(model, arena).status());
  MergeEqualNodes(model);
  RemoveDead(model.mutable_proto());
  MP_RETURN_IF_ERROR(OptimizeLayout(model, arena, context));
  RemoveDead(model.mutable_proto());
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Model> ConvertProgram(const Program& program, const Import& options,
                                     const JobContext& context, std::vector<std::string>* notes) {
  MP_RETURN_IF_ERROR(CheckOptions(options));
  Conversion conversion(program, context);
  MP_RETURN_IF_ERROR(FixSymbols(program, options, &conversion));
  onnx::ModelProto& proto = conversion.builder.model().mutable_proto();
  proto.set_ir_version(10);
  proto.set_producer_name("modelpress");
  onnx::OperatorSetIdProto* opset = proto.add_opset_import();
  opset->set_domain("");
  opset->set_version(kImportOpset);
  onnx::GraphProto* graph = proto.mutable_graph();
  graph->set_name("main");
  import::GraphBuilder builder(&conversion.builder, graph);
  GraphScope scope(&conversion, &program.graph, &builder);
  MP_RETURN_IF_ERROR(DeclareInputs(scope, graph));
  MP_RETURN_IF_ERROR(scope.TranslateNodes());
  if (!conversion.refusals.empty()) return conversion.refusals.ToStatus();
  std::vector<TensorMeta> metas;
  MP_RETURN_IF_ERROR(DeclareOutputs(scope, graph, &metas));
  Model model = std::move(conversion.builder.model());
  FoldIntegers(model);
  RemoveDead(model.mutable_proto());
  MP_RETURN_IF_ERROR(CompleteOutputs(metas, &model.mutable_proto()));
  if (const absl::Status status = onnx_format::ValidateStructure(&model.mutable_proto());
      !status.ok()) {
    return Error(ERROR_REASON_MODEL_MALFORMED, FormatString("the program does not fit together: {}",
                                                            std::string(status.message())));
  }
  MP_RETURN_IF_ERROR(CleanUpGraph(model, conversion.builder.arena(), context));
  // Weights of the module keep their names.
  GiveConstantOutputs(model, conversion.variables);
  if (notes != nullptr) {
    *notes = std::move(conversion.notes);
    for (std::string& note : TransposeNotes(model)) notes->push_back(std::move(note));
  }
  return model;
}

}  // namespace modelpress::pt2
