// Reading the model of a job: see read_model.h.
#include "core/recipe/read_model.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/formats/weights/put_weights.h"
#include "core/formats/weights/read_weights.h"
#include "core/model/graph.h"
#include "core/quant/batch_norm_folding.h"
#include "core/quant/opset_conversion.h"
#include "core/recipe/job_files.h"
#include "modelpress/v1/recipe.pb.h"

namespace modelpress {
namespace {

// BatchNormalization into the convolution before it. What was changed is no longer the source's weight and does not keep
// its name: weights that are put in by name later do not end up in a place that means something else.
absl::Status FoldNorms(Model& model, const JobContext& context, std::vector<std::string>* notes) {
  bool any = false;
  ForEachGraph(std::as_const(model).proto(), [&](const onnx::GraphProto& graph, int) {
    any |= std::ranges::any_of(graph.node(), [](const onnx::NodeProto& node) {
      return node.op_type() == "BatchNormalization";
    });
  });
  if (!any) return absl::OkStatus();
  WeightArena arena(context.scratch);
  MP_ASSIGN_OR_RETURN(const BatchNormFolding folding, FoldBatchNorms(model, arena, context));
  UniqueNames names(model.proto());
  absl::flat_hash_map<std::string, std::string> renamed;
  for (const Change& change : folding.changes) {
    renamed[change.tensor()] = names.Make(change.tensor() + "_folded");
  }
  const auto rename = [&](std::string* name) {
    if (const auto found = renamed.find(*name); found != renamed.end()) *name = found->second;
  };
  for (onnx::TensorProto& tensor : *model.mutable_proto().mutable_graph()->mutable_initializer()) {
    rename(tensor.mutable_name());
  }
  ForEachGraph(model.mutable_proto(), [&](onnx::GraphProto& graph, int) {
    for (onnx::NodeProto& node : *graph.mutable_node()) {
      for (std::string& input : *node.mutable_input()) rename(&input);
    }
  });
  if (notes != nullptr && !folding.changes.empty()) {
    notes->push_back(FormatString("{} BatchNormalization became part of the weights before them",
                                  folding.changes.size()));
  }
  return absl::OkStatus();
}

// `between`: what is done to the model as its source has it.
absl::StatusOr<Model> ReadWith(const Format& format, const InputFiles& files, const Import& options,
                               const JobContext& context, std::vector<std::string>* notes,
                               const std::function<absl::Status(Model*)>& between) {
  if (!format.converts() && options.ByteSizeLong() > 0) {
    return Error(ERROR_REASON_RECIPE_INVALID,
                 FormatString("import: a model of format {} is not converted when it is read",
                              format.name()))
        .With("field", "import")
        .Remedy(
            "leave the options of conversions out; the pass convert_opset changes the opset of an "
            "ONNX model");
  }
  MP_ASSIGN_OR_RETURN(Model model, format.Read(files, options, context, notes));
  MP_RETURN_IF_ERROR(between(&model));
  if (format.converts()) MP_RETURN_IF_ERROR(FoldNorms(model, context, notes));
  if (options.opset() != 0 && static_cast<int64_t>(options.opset()) != model.opset()) {
    MP_RETURN_IF_ERROR(ConvertDefaultDomain(model, options.opset()));
  }
  return model;
}

}  // namespace

absl::StatusOr<Model> ReadModel(const Format& format, const InputFiles& files,
                                const Import& options, const JobContext& context,
                                std::vector<std::string>* notes) {
  return ReadWith(format, files, options, context, notes, [](Model*) { return absl::OkStatus(); });
}

namespace {

// The graph with the weights of `weight_files` in it.
absl::StatusOr<JobModel> ReadOnto(const InputFiles& weight_files, InputFiles graph_files,
                                  Import options, const JobContext& context,
                                  std::vector<std::string>* notes) {
  std::vector<std::string> found, of_graph;
  MP_ASSIGN_OR_RETURN(const std::vector<NamedTensor> weights,
                      ReadWeights(weight_files.main, weight_files.sidecars, context, &found));
  std::map<std::string, std::string> renames(options.renamed_weights().begin(),
                                             options.renamed_weights().end());
  options.clear_renamed_weights();
  JobModel result;
  MP_ASSIGN_OR_RETURN(result.format, FormatRegistry::Get().Recognise(graph_files));
  if (!result.format->has_graph()) {
    return Error(ERROR_REASON_FORMAT_UNSUPPORTED,
                 FormatString("\"{}\" has weights but no graph to put weights into",
                              graph_files.main.name))
        .With("format", result.format->name())
        .Remedy("give the model that the weights belong to");
  }
  MP_ASSIGN_OR_RETURN(
      result.model,
      ReadWith(*result.format, graph_files, options, context, &of_graph,
               [&](Model* model) { return PutWeights(weights, renames, model, &of_graph); }));
  found.insert(found.end(), of_graph.begin(), of_graph.end());
  found.push_back(FormatString("the weights are those of \"{}\", the graph is that of \"{}\"",
                               weight_files.main.name, graph_files.main.name));
  result.files = std::move(graph_files);
  if (notes != nullptr) notes->insert(notes->end(), found.begin(), found.end());
  return result;
}

}  // namespace

absl::StatusOr<JobModel> ReadJobModel(const JobInputs& inputs, const Import& options,
                                      const JobContext& context, std::vector<std::string>* notes) {
  JobModel result;
  result.files = FilesOfModel(inputs);
  if (inputs.graph.file != nullptr) {
    return ReadOnto(result.files, FilesOf(inputs.graph, inputs), options, context, notes);
  }
  if (!options.renamed_weights().empty()) {
    return Error(ERROR_REASON_RECIPE_INVALID,
                 "import.renamed_weights: there is no graph to put weights into")
        .With("field", "import.renamed_weights")
        .Remedy("send the graph as a further model (modelpress convert WEIGHTS --onto model.onnx)");
  }
  MP_ASSIGN_OR_RETURN(result.format, FormatRegistry::Get().Recognise(result.files));
  MP_ASSIGN_OR_RETURN(result.model,
                      ReadModel(*result.format, result.files, options, context, notes));
  return result;
}

}  // namespace modelpress
