// A parsed tree into any message by its field names; shared by recipe texts and command-line
// arguments.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "core/recipe/yaml_tree.h"
#include "google/protobuf/message.h"

namespace modelpress {

// Adds the tree's fields to `message`. Errors name fields by `path` + their names: RECIPE_INVALID,
// UNKNOWN_PASS.
absl::Status YamlToMessage(const YamlNode& node, const std::string& path,
                           google::protobuf::Message* message);

}  // namespace modelpress
