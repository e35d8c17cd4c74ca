// Any text as a recipe and as command-line arguments: parsed or refused, validated, no crash.
#include <cstdint>
#include <string_view>

#include "core/recipe/recipe_reader.h"
#include "modelpress/v1/recipe.pb.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace modelpress;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto recipe = ReadRecipe(text); recipe.ok()) (void)ValidateRecipe(*recipe);
  (void)ReadPassArgument(text);
  (void)ReadRequireArgument(text);
  return 0;
}
