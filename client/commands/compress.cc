// modelpress compress: a model and a recipe in, a smaller model and an honest report out.
#include <fstream>
#include <memory>
#include <sstream>

#include "client/app/command.h"
#include "client/app/options.h"
#include "core/recipe/recipe_reader.h"

namespace modelpress {
namespace {

struct CompressOptions : JobOptions {
  std::string recipe;
  std::vector<std::string> passes;
};

absl::StatusOr<std::string> ReadRecipeFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  // One byte more than allowed: the reader then says that it is too large.
  std::string text(kMaxRecipeBytes + 1, '\0');
  if (!file.read(text.data(), static_cast<std::streamsize>(text.size())) && !file.eof()) {
    return Error(ERROR_REASON_FILE_ACCESS, "cannot read the recipe " + path)
        .With("path", path)
        .Remedy("check the path given to --recipe");
  }
  text.resize(static_cast<size_t>(file.gcount()));
  return text;
}

absl::Status Compress(const CompressOptions& options) {
  Recipe recipe;
  if (!options.recipe.empty()) {
    MP_ASSIGN_OR_RETURN(const std::string text, ReadRecipeFile(options.recipe));
    MP_ASSIGN_OR_RETURN(recipe, ReadRecipe(text));
  }
  for (const std::string& argument : options.passes) {
    MP_ASSIGN_OR_RETURN(*recipe.add_passes(), ReadPassArgument(argument));
  }
  if (recipe.passes().empty()) {
    return Error(ERROR_REASON_REQUEST_INVALID, "no pass was given, so nothing would be compressed")
        .Remedy(
            "add --pass NAME or --recipe FILE; `modelpress capabilities` lists the passes, and "
            "`modelpress "
            "convert` writes a model as it is");
  }
  return RunJob(options, std::move(recipe));
}

}  // namespace

void RegisterCommand_compress(CommandRegistry& registry) {
  auto options = std::make_shared<CompressOptions>();
  CLI::App* app = registry.Add(
      "compress", "Make a model smaller, and measure what that cost",
      {"modelpress compress model.onnx -o small.onnx --pass quantize_weights",
       "modelpress compress model.onnx -o small.onnx --recipe recipe.yaml --data "
       "samples/ --report report.json",
       "modelpress compress model.onnx -o small.onnx --pass "
       "prune_magnitude:sparsity_global=0.5 --pass "
       "quantize_weights --require accuracy.max_drop=0.005 --data samples/",
       "modelpress compress teacher.onnx -o student.onnx --pass distill --data samples/ "
       "--require accuracy.min=0.95",
       "modelpress compress model.onnx --pass convert_float16 --plan"},
      [options] { return Compress(*options); });
  options->AddTo(app);
  app->add_option("--student", options->student,
                  "A model with the same inputs and outputs that the pass distill trains, instead "
                  "of narrower ones that it makes")
      ->type_name("FILE");
  app->add_option("--recipe", options->recipe,
                  "Recipe in YAML or JSON: passes, quality bounds, judging, output")
      ->type_name("FILE");
  app->add_option("--pass", options->passes,
                  "Pass to apply, after those of the recipe; repeatable, in order. Options of "
                  "nested messages with "
                  "dots: quantize_weights:weights.min_elements=16")
      ->type_name("NAME[:KEY=VALUE,...]")
      ->allow_extra_args(false);
}

}  // namespace modelpress
