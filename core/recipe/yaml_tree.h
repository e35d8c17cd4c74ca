// YAML text as a plain tree with line numbers. The only place that knows yaml-cpp.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace modelpress {

struct YamlNode {
  enum class Kind { kNull, kScalar, kList, kMap };
  Kind kind = Kind::kNull;
  // Only for scalars.
  std::string scalar;
  // Only for lists.
  std::vector<YamlNode> items;
  // Only for maps, in the order of the text; keys are unique.
  std::vector<std::pair<std::string, YamlNode>> fields;
  // 1-based line of the text; 0 for nodes that no text stands behind.
  int line = 0;
};

// Deepest nesting that is accepted; nothing of ours is deeper than five.
inline constexpr int kMaxYamlDepth = 32;

// One document of YAML (or JSON, which is a part of it). An empty text is a null node.
// RECIPE_INVALID with the line for syntax errors, duplicate keys, keys that are not scalars,
// nesting deeper than kMaxYamlDepth, more than one document, and for anchors, aliases and tags (a
// few bytes of aliases expand without bound, and nothing of ours needs them).
absl::StatusOr<YamlNode> ParseYaml(std::string_view text);

}  // namespace modelpress
