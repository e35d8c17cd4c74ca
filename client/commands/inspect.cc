// modelpress inspect: what is in a model.
#include <stdio.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/app/command.h"
#include "client/job/interrupt.h"
#include "client/job/weight_statistics.h"
#include "client/report/sensitivity_view.h"
#include "client/terminal/format.h"
#include "client/terminal/progress_display.h"
#include "core/data/samples.h"
#include "core/formats/input_files.h"
#include "core/measure/sizes.h"
#include "core/model/graph.h"
#include "core/passes/sensitivity.h"
#include "core/recipe/recipe_reader.h"
#include "modelpress/v1/recipe.pb.h"
#include "nlohmann/json.hpp"

namespace modelpress {
namespace {

struct InspectOptions {
  std::string model;
  bool json = false;
  bool sensitivity = false;
  std::string data;
  std::string pass = "quantize_weights";
  uint64_t max_samples = 64;
};

struct Inspection {
  std::string format;
  std::string producer;
  int64_t ir_version = 0;
  std::map<std::string, int64_t> opsets;
  std::map<std::string, uint64_t> operators;
  uint64_t file_bytes = 0;
  ModelSummary summary;
  std::vector<WeightStatistics> weights;
  std::optional<Sensitivity> sensitivity;
};

absl::StatusOr<Inspection> Inspect(const InspectOptions& options) {
  MP_ASSIGN_OR_RETURN(const InputFiles inputs, OpenModelFiles(options.model));
  MP_ASSIGN_OR_RETURN(const Format* format, FormatRegistry::Get().Recognise(inputs));
  MP_ASSIGN_OR_RETURN(const auto scratch, Scratch::Temporary(0));
  const InterruptGuard guard(scratch->folder());
  ThreadPool pool(0);
  JobContext context;
  context.pool = &pool;
  context.scratch = scratch.get();
  context.cancellation = &InstallInterruptHandler();
  MP_ASSIGN_OR_RETURN(Model model, format->Read(inputs, Import(), context));
  Inspection inspection;
  inspection.format = std::string(format->name());
  inspection.producer = model.proto().producer_name();
  if (!model.proto().producer_version().empty())
    inspection.producer += " " + model.proto().producer_version();
  inspection.ir_version = model.proto().ir_version();
  for (const auto& opset : model.proto().opset_import()) {
    inspection.opsets[opset.domain().empty() ? "ai.onnx" : opset.domain()] = opset.version();
  }
  ForEachGraph(model.proto(), [&](const onnx::GraphProto& graph, int) {
    for (const auto& node : graph.node()) ++inspection.operators[node.op_type()];
  });
  inspection.file_bytes = inputs.main.file->size();
  for (const InputFile& sidecar : inputs.sidecars) inspection.file_bytes += sidecar.file->size();
  MP_ASSIGN_OR_RETURN(inspection.summary, Summarise(model, true, context));
  MP_ASSIGN_OR_RETURN(inspection.weights, InspectWeights(model, context));
  if (!options.sensitivity) return inspection;
  MP_ASSIGN_OR_RETURN(const PassStep step, ReadPassArgument(options.pass));
  std::unique_ptr<DataSet> data;
  if (!options.data.empty()) {
    MP_ASSIGN_OR_RETURN(data, DataSet::Open(options.data, scratch.get()));
  }
  ProgressDisplay display(ProgressDisplay::StyleOfStderr());
  MP_ASSIGN_OR_RETURN(inspection.sensitivity,
                      MeasureSensitivity(model, step, data.get(), options.max_samples, 0, context,
                                         [&](double fraction, std::string_view layer) {
                                           display.Update("sensitivity", fraction, fraction, layer);
                                         }));
  display.Clear();
  return inspection;
}

std::string Shape(const std::vector<std::string>& extents) {
  return "[" + absl::StrJoin(extents, ", ") + "]";
}

// Bars of the bins, highest bin full; a bin that holds anything shows.
std::string Sparkline(const WeightStatistics& weight) {
  constexpr const char* kBars[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  const uint64_t most = *std::max_element(weight.histogram.begin(), weight.histogram.end());
  if (most == 0) return "";
  std::string line;
  for (uint64_t count : weight.histogram) {
    const double share = static_cast<double>(count) / static_cast<double>(most);
    line += kBars[count == 0 ? 0 : std::max<size_t>(1, static_cast<size_t>(share * 8))];
  }
  return "|" + line + "|";
}

double Sparsity(const WeightStatistics& weight) {
  return weight.elements == 0
             ? 0
             : static_cast<double>(weight.zeros) / static_cast<double>(weight.elements);
}

void AddValues(const char* label, const google::protobuf::RepeatedPtrField<ValueSummary>& values,
               std::string* text) {
  for (const ValueSummary& value : values) {
    absl::StrAppend(text, label, Printable(value.name()), " ", value.dtype(), " ",
                    Printable(Shape({value.shape().begin(), value.shape().end()})), "\n");
  }
}

std::string RenderText(const Inspection& inspection) {
  const ModelSummary& summary = inspection.summary;
  std::vector<std::string> opsets;
  for (const auto& [domain, version] : inspection.opsets)
    opsets.push_back(absl::StrCat(Printable(domain), " ", version));
  std::string text = absl::StrCat("Format    ", inspection.format, ", IR ", inspection.ir_version,
                                  ", opset ", absl::StrJoin(opsets, ", "), "\n");
  if (!inspection.producer.empty())
    absl::StrAppend(&text, "Producer  ", Printable(inspection.producer), "\n");
  absl::StrAppend(&text, "Size      ", FormatBytes(inspection.file_bytes), ", ",
                  FormatCount(summary.parameters()), " parameters (",
                  FormatCount(summary.nonzero_parameters()), " not zero), weights ",
                  FormatBytes(summary.weight_bytes()), "\n");
  AddValues("Input     ", summary.inputs(), &text);
  AddValues("Output    ", summary.outputs(), &text);
  std::vector<std::string> operators;
  for (const auto& [op, count] : inspection.operators)
    operators.push_back(absl::StrCat(Printable(op), " ", count));
  absl::StrAppend(&text, "Nodes     ", FormatCount(summary.nodes()), ": ",
                  absl::StrJoin(operators, ", "), "\nWeights\n");
  TextTable table;
  table.AddRow(
      {"read by", "weight", "type", "shape", "elements", "bytes", "zeros", "min", "", "max"});
  for (const WeightStatistics& weight : inspection.weights) {
    std::string reader = weight.op + (weight.node.empty() ? "" : " " + weight.node);
    if (weight.readers > 1) absl::StrAppend(&reader, " +", weight.readers - 1);
    std::string name = Printable(weight.name);
    if (weight.not_finite > 0) absl::StrAppend(&name, " (", weight.not_finite, " NOT FINITE)");
    table.AddRow({Printable(reader), name, std::string(DataTypeName(weight.type)),
                  "[" + absl::StrJoin(weight.dims, ", ") + "]", FormatCount(weight.elements),
                  FormatBytes(weight.bytes), FormatPercent(Sparsity(weight)),
                  FormatNumber(weight.min), Sparkline(weight), FormatNumber(weight.max)});
  }
  text += table.empty() ? "  none\n" : table.ToString();
  if (inspection.sensitivity.has_value()) text += RenderSensitivity(*inspection.sensitivity);
  return text;
}

nlohmann::ordered_json ValuesJson(const google::protobuf::RepeatedPtrField<ValueSummary>& values) {
  auto list = nlohmann::ordered_json::array();
  for (const ValueSummary& value : values) {
    list.push_back(
        {{"name", Printable(value.name())},
         {"dtype", value.dtype()},
         {"shape", std::vector<std::string>(value.shape().begin(), value.shape().end())}});
  }
  return list;
}

std::string RenderJson(const Inspection& inspection) {
  const ModelSummary& summary = inspection.summary;
  nlohmann::ordered_json json = {{"format", inspection.format},
                                 {"ir_version", inspection.ir_version},
                                 {"opsets", inspection.opsets},
                                 {"producer", Printable(inspection.producer)},
                                 {"file_bytes", inspection.file_bytes},
                                 {"parameters", summary.parameters()},
                                 {"nonzero_parameters", summary.nonzero_parameters()},
                                 {"weight_bytes", summary.weight_bytes()},
                                 {"nodes", summary.nodes()},
                                 {"inputs", ValuesJson(summary.inputs())},
                                 {"outputs", ValuesJson(summary.outputs())}};
  json["operators"] = nlohmann::ordered_json::object();
  for (const auto& [op, count] : inspection.operators) json["operators"][Printable(op)] = count;
  json["weights"] = nlohmann::ordered_json::array();
  for (const WeightStatistics& weight : inspection.weights) {
    json["weights"].push_back({{"name", Printable(weight.name)},
                               {"op", Printable(weight.op)},
                               {"node", Printable(weight.node)},
                               {"readers", weight.readers},
                               {"dtype", DataTypeName(weight.type)},
                               {"shape", weight.dims},
                               {"elements", weight.elements},
                               {"bytes", weight.bytes},
                               {"zeros", weight.zeros},
                               {"not_finite", weight.not_finite},
                               {"min", weight.min},
                               {"max", weight.max},
                               {"histogram", weight.histogram}});
  }
  if (inspection.sensitivity.has_value())
    json["sensitivity"] = SensitivityJson(*inspection.sensitivity);
  return json.dump(2) + "\n";
}

}  // namespace

void RegisterCommand_inspect(CommandRegistry& registry) {
  auto options = std::make_shared<InspectOptions>();
  CLI::App* app = registry.Add(
      "inspect", "Show a model's inputs, outputs, operators and weights",
      {"modelpress inspect model.onnx", "modelpress inspect model.onnx --json",
       "modelpress inspect model.onnx --sensitivity --data samples/",
       "modelpress inspect model.onnx --sensitivity --pass quantize_static --data samples/"},
      [options] -> absl::Status {
        MP_ASSIGN_OR_RETURN(const Inspection inspection, Inspect(*options));
        fputs((options->json ? RenderJson(inspection) : RenderText(inspection)).c_str(), stdout);
        return absl::OkStatus();
      });
  app->add_option("MODEL", options->model,
                  "The model; its external data is read from the same folder")
      ->required();
  app->add_flag("--json", options->json, "Print JSON");
  CLI::Option* sensitivity = app->add_flag(
      "--sensitivity", options->sensitivity,
      "Also change each layer alone and measure the model: which layers are worth protecting");
  app->add_option("--pass", options->pass, "What is done to each layer")
      ->type_name("NAME[:KEY=VALUE,...]")
      ->needs(sensitivity)
      ->capture_default_str();
  app->add_option("--data", options->data, "Samples to measure on; without them synthetic ones")
      ->type_name("DIR|ZIP")
      ->needs(sensitivity);
  app->add_option("--samples", options->max_samples, "At most this many of them")
      ->type_name("N")
      ->needs(sensitivity)
      ->capture_default_str();
}

}  // namespace modelpress
