// modelpress convert: the same model written in another way.
#include <memory>

#include "client/app/command.h"
#include "client/app/options.h"
#include "core/recipe/recipe_reader.h"

namespace modelpress {
namespace {

struct ConvertOptions : JobOptions {
  std::string layout;
  std::string format;
};

absl::Status Convert(const ConvertOptions& options) {
  Recipe recipe;
  Output& output = *recipe.mutable_output();
  output.set_layout(options.layout == "inline"    ? Output::LAYOUT_INLINE
                    : options.layout == "sidecar" ? Output::LAYOUT_SIDECAR
                                                  : Output::LAYOUT_AUTO);
  output.set_format(options.format);
  return RunJob(options, std::move(recipe));
}

}  // namespace

void RegisterCommand_convert(CommandRegistry& registry) {
  auto options = std::make_shared<ConvertOptions>();
  CLI::App* app = registry.Add("convert", "Write a model in another layout or format, and check it",
                               {"modelpress convert model.onnx -o one-file.onnx --layout inline",
                                "modelpress convert model.onnx -o out/model.onnx --layout sidecar"},
                               [options] { return Convert(*options); });
  options->AddTo(app);
  app->add_option(
         "--layout", options->layout,
         "Where weights go: inline (one file), sidecar (a second file), auto (sidecar above 2 GiB)")
      ->check(CLI::IsMember({"auto", "inline", "sidecar"}));
  app->add_option("--format", options->format, "Format to write; default: the model's own")
      ->type_name("NAME");
}

}  // namespace modelpress
