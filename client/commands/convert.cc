// modelpress convert: the same model written in another way.
#include <stdio.h>

#include <filesystem>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "client/app/command.h"
#include "client/app/options.h"
#include "client/job/interrupt.h"
#include "client/terminal/format.h"
#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/formats/input_files.h"
#include "core/formats/weights/json_text.h"
#include "core/measure/expectation.h"
#include "core/recipe/recipe_reader.h"
#include "modelpress/v1/recipe.pb.h"

namespace modelpress {
namespace {

struct ConvertOptions : JobOptions {
  std::string layout;
  std::string format;
  std::string signature;
  std::vector<std::string> input_shapes;
  bool channels_first = false;
  uint32_t opset = 0;
  std::string expect;
  std::string renames;
};

// The share of an output's range by which it may differ from what the caller expects.
constexpr double kExpectedTolerance = 1e-3;

// What was written beside the outputs that the caller has.
absl::Status CompareWithCaller(const ConvertOptions& options) {
  MP_ASSIGN_OR_RETURN(const InputFiles files, OpenModelFiles(options.output));
  MP_ASSIGN_OR_RETURN(const Format* format, FormatRegistry::Get().Recognise(files));
  MP_ASSIGN_OR_RETURN(const auto scratch, Scratch::Temporary(0));
  ThreadPool pool(1);
  JobContext context;
  context.pool = &pool;
  context.scratch = scratch.get();
  context.cancellation = &InstallInterruptHandler();
  const InterruptGuard guard(scratch->folder());
  MP_ASSIGN_OR_RETURN(const Model model, format->Read(files, Import(), context));
  std::vector<std::string> notes;
  MP_ASSIGN_OR_RETURN(const std::vector<ExpectedOutput> outputs,
                      CompareWithExpected(model, options.expect, kExpectedTolerance, &notes));
  if (!options.json) {
    for (const std::string& note : notes)
      fputs(FormatString("{}\n", Printable(note)).c_str(), stdout);
  }
  std::string missed;
  for (const ExpectedOutput& output : outputs) {
    if (!options.json) {
      fputs(FormatString("Expected output {}: largest error {:.3g} of a range of {:.3g}{}\n",
                         Printable(output.name), output.max_abs_error, output.range,
                         output.holds ? "" : ", too much")
                .c_str(),
            stdout);
    }
    if (!output.holds && missed.empty()) missed = output.name;
  }
  if (missed.empty()) return absl::OkStatus();
  return Error(ERROR_REASON_QUALITY_BOUND_MISSED,
               FormatString("output '{}' is not what was expected", missed))
      .With("metric", "expected output")
      .Remedy("look at which operator differs; the file was written");
}

// "image:1,224,224,3"; names may hold colons themselves.
absl::Status AddInputShape(const std::string& argument, Import* import) {
  const size_t colon = argument.rfind(':');
  InputShape& shape = *import->add_input_shapes();
  bool valid = colon != std::string::npos && colon > 0;
  if (valid) {
    shape.set_input(argument.substr(0, colon));
    const std::vector<std::string> parts = absl::StrSplit(argument.substr(colon + 1), ',');
    for (const std::string& part : parts) {
      int64_t extent = 0;
      valid &= absl::SimpleAtoi(part, &extent) && extent > 0;
      shape.add_extents(extent);
    }
  }
  if (valid) return absl::OkStatus();
  return Error(ERROR_REASON_REQUEST_INVALID,
               FormatString("--input-shape {} is not NAME:EXTENT,EXTENT,...", argument))
      .With("field", "--input-shape")
      .Remedy("write it as image:1,224,224,3");
}

// A JSON object, {"name in the file of weights": "name in the model", ...}.
absl::Status AddRenames(const std::string& path, Import* import) {
  if (path.empty()) return absl::OkStatus();
  MP_ASSIGN_OR_RETURN(const auto file, MappedFile::OpenForReading(path));
  const std::string_view text(reinterpret_cast<const char*>(file->bytes().data()), file->size());
  MP_ASSIGN_OR_RETURN(const nlohmann::json table,
                      ParseJson(text, path, nullptr, /*unique_keys=*/true));
  for (const auto& [from, to] : table.items()) {
    if (!table.is_object() || !to.is_string()) {
      return Error(ERROR_REASON_REQUEST_INVALID, FormatString("{} is no object of names", path))
          .With("field", "--rename")
          .Remedy(R"(write it as {"old.name": "new.name", "not.needed": ""})");
    }
    (*import->mutable_renamed_weights())[from] = to.get<std::string>();
  }
  return absl::OkStatus();
}

absl::Status Convert(const ConvertOptions& options) {
  Recipe recipe;
  Output& output = *recipe.mutable_output();
  output.set_layout(options.layout == "inline"    ? Output::LAYOUT_INLINE
                    : options.layout == "sidecar" ? Output::LAYOUT_SIDECAR
                                                  : Output::LAYOUT_AUTO);
  output.set_format(options.format.empty() &&
                            absl::EndsWithIgnoreCase(options.output, ".safetensors")
                        ? "safetensors"
                        : options.format);
  Import import;
  import.set_signature(options.signature);
  import.set_channels_first_inputs(options.channels_first);
  import.set_opset(options.opset);
  for (const std::string& argument : options.input_shapes)
    MP_RETURN_IF_ERROR(AddInputShape(argument, &import));
  MP_RETURN_IF_ERROR(AddRenames(options.renames, &import));
  if (import.ByteSizeLong() > 0) *recipe.mutable_import() = std::move(import);
  MP_RETURN_IF_ERROR(RunJob(options, std::move(recipe)));
  return options.expect.empty() || options.plan ? absl::OkStatus() : CompareWithCaller(options);
}

}  // namespace

void RegisterCommand_convert(CommandRegistry& registry) {
  auto options = std::make_shared<ConvertOptions>();
  CLI::App* app =
      registry.Add("convert", "Write a model in another layout or format, and check it",
                   {"modelpress convert model.onnx -o one-file.onnx --layout inline",
                    "modelpress convert model.onnx -o out/model.onnx --layout sidecar",
                    "modelpress convert model.tflite -o model.onnx --nchw-inputs",
                    "modelpress convert model.pt2 -o model.onnx",
                    "modelpress convert model.onnx -o weights.safetensors",
                    "modelpress convert weights.safetensors --onto model.onnx -o new.onnx"},
                   [options] { return Convert(*options); });
  options->AddTo(app);
  app->add_option(
         "--layout", options->layout,
         "Where weights go: inline (one file), sidecar (a second file), auto (sidecar above 2 GiB)")
      ->check(CLI::IsMember({"auto", "inline", "sidecar"}));
  app->add_option("--format", options->format, "Format to write; default: the model's own")
      ->type_name("NAME");
  app->add_option("--signature", options->signature,
                  "Of a TensorFlow Lite model: the signature to convert")
      ->type_name("KEY");
  app->add_option("--input-shape", options->input_shapes,
                  "Of a model that is not ONNX: extents for an input's free axes, "
                  "NAME:1,224,224,3; repeatable")
      ->type_name("SHAPE")
      ->allow_extra_args(false);
  app->add_flag("--nchw-inputs", options->channels_first,
                "Of a TensorFlow Lite model: image inputs become channels-first");
  app->add_option("--expect", options->expect,
                  "Arrays that the original gave: in0.npy ..., out0.npy ... or NAME.npy; the "
                  "outputs must be those")
      ->type_name("DIR");
  CLI::Option* onto = app->add_option("--onto", options->graph,
                                      "Of a file of weights (safetensors, an index of shards, a "
                                      "PyTorch state dict): the model to put them into")
                          ->type_name("MODEL");
  app->add_option("--rename", options->renames,
                  "With --onto: a JSON object of names in the file of weights and in the model; "
                  "\"\" leaves a tensor out")
      ->type_name("FILE")
      ->needs(onto);
  app->add_option("--opset", options->opset,
                  "Of a model that is not ONNX: version of the ONNX operators to write")
      ->type_name("N");
}

}  // namespace modelpress
