// Recipes as people write them: YAML or JSON text into the Recipe message, and back.
#pragma once

#include <string>
#include <string_view>

#include "core/base/nearest_name.h"  // used by callers together with what is here
#include "core/base/status.h"
#include "google/protobuf/message.h"

namespace modelpress::v1 {
class PassStep;
class QualityBound;
class Recipe;
}  // namespace modelpress::v1

namespace modelpress {

// Largest recipe text accepted, bytes.
inline constexpr size_t kMaxRecipeBytes = 256 * 1024;

// Parses YAML (of which JSON is a part) into any message by its field names. RECIPE_INVALID with
// the field's path
// ("passes[1].quantize_weights.granularity"), what was found, and the nearest right name for a
// typing slip. Enum values may be written in lower case without their prefix. Aliases and tags are
// refused (a few bytes could expand without bound).
absl::Status ReadYaml(std::string_view text, google::protobuf::Message* message);

absl::StatusOr<Recipe> ReadRecipe(std::string_view text);
// "name:key=value,key=value" of the command line (dots go into nested messages:
// "weights.min_elements=16").
absl::StatusOr<PassStep> ReadPassArgument(std::string_view argument);
// "accuracy.max_drop=0.005" of the command line.
absl::StatusOr<QualityBound> ReadRequireArgument(std::string_view argument);

// The recipe as one line of JSON, which ReadRecipe reads again. The same recipe gives the same text
// everywhere.
std::string RecipeText(const Recipe& recipe);

// Ranges, combinations and order of everything in the recipe, by the passes' own Validate.
absl::Status ValidateRecipe(const Recipe& recipe);

}  // namespace modelpress
