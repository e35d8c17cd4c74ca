// Recipe parts as command-line arguments: "--pass name:key=value,..." and "--require
// metric.limit=value".
#include <algorithm>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/recipe/recipe_reader.h"
#include "core/recipe/yaml_to_message.h"
#include "modelpress/v1/recipe.pb.h"

namespace modelpress {
namespace {

Error ArgumentError(std::string_view argument, std::string_view message) {
  return Error(ERROR_REASON_RECIPE_INVALID, FormatString("'{}': {}", argument, message));
}

std::string_view Trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return "";
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

// Splits at commas that are not inside brackets.
std::vector<std::string_view> SplitOptions(std::string_view text) {
  std::vector<std::string_view> parts;
  size_t begin = 0;
  int depth = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '[') ++depth;
    if (text[i] == ']') depth = std::max(0, depth - 1);
    if (text[i] != ',' || depth > 0) continue;
    parts.push_back(text.substr(begin, i - begin));
    begin = i + 1;
  }
  parts.push_back(text.substr(begin));
  return parts;
}

YamlNode Scalar(std::string_view text) {
  return {.kind = YamlNode::Kind::kScalar, .scalar = std::string(Trim(text))};
}

YamlNode Value(std::string_view text) {
  if (!text.starts_with('[') || !text.ends_with(']')) return Scalar(text);
  YamlNode list{.kind = YamlNode::Kind::kList};
  text = text.substr(1, text.size() - 2);
  if (text.empty()) return list;
  for (const std::string_view item : SplitOptions(text)) list.items.push_back(Scalar(item));
  return list;
}

YamlNode* FindOrAdd(YamlNode& map, std::string_view name) {
  map.kind = YamlNode::Kind::kMap;
  for (auto& [key, value] : map.fields) {
    if (key == name) return &value;
  }
  return &map.fields.emplace_back(std::string(name), YamlNode()).second;
}

// A key given again makes a list of its values.
void Put(YamlNode& map, std::string_view name, YamlNode value) {
  YamlNode& slot = *FindOrAdd(map, name);
  if (slot.kind == YamlNode::Kind::kNull) {
    slot = std::move(value);
    return;
  }
  if (slot.kind != YamlNode::Kind::kList) {
    YamlNode list{.kind = YamlNode::Kind::kList};
    list.items.push_back(std::move(slot));
    slot = std::move(list);
  }
  if (value.kind == YamlNode::Kind::kList) {
    std::ranges::move(value.items, std::back_inserter(slot.items));
  } else {
    slot.items.push_back(std::move(value));
  }
}

// The same for "weights.min_elements": dots go into nested messages.
absl::Status PutNested(YamlNode& options, std::string_view key, YamlNode value,
                       std::string_view argument) {
  YamlNode* map = &options;
  int depth = 0;
  for (size_t dot = key.find('.'); dot != std::string_view::npos; dot = key.find('.')) {
    if (++depth > kMaxYamlDepth) return ArgumentError(argument, "nested too deep");
    map = FindOrAdd(*map, key.substr(0, dot));
    if (map->kind != YamlNode::Kind::kNull && map->kind != YamlNode::Kind::kMap) {
      return ArgumentError(argument,
                           FormatString("'{}' has a value and fields", key.substr(0, dot)));
    }
    map->kind = YamlNode::Kind::kMap;
    key.remove_prefix(dot + 1);
  }
  Put(*map, key, std::move(value));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PassStep> ReadPassArgument(std::string_view argument) {
  if (argument.size() > kMaxRecipeBytes) return ArgumentError(argument.substr(0, 40), "too long");
  const size_t colon = argument.find(':');
  const std::string_view pass = Trim(argument.substr(0, colon));
  if (pass.empty()) return ArgumentError(argument, "expected PASS or PASS:key=value,...");
  YamlNode step{.kind = YamlNode::Kind::kMap};
  YamlNode options{.kind = YamlNode::Kind::kMap};
  if (colon != std::string_view::npos && colon + 1 < argument.size()) {
    for (const std::string_view option : SplitOptions(argument.substr(colon + 1))) {
      const size_t equals = option.find('=');
      if (equals == std::string_view::npos) {
        return ArgumentError(argument, FormatString("expected key=value, found '{}'", option));
      }
      const std::string_view key = Trim(option.substr(0, equals));
      YamlNode value = Value(Trim(option.substr(equals + 1)));
      if (key ==
          "allow_no_change") {  // the only option that all passes share; it stands beside the pass
        Put(step, key, std::move(value));
        continue;
      }
      MP_RETURN_IF_ERROR(PutNested(options, key, std::move(value), argument));
    }
  }
  Put(step, pass, std::move(options));
  PassStep result;
  MP_RETURN_IF_ERROR(YamlToMessage(step, "", &result));
  return result;
}

absl::StatusOr<QualityBound> ReadRequireArgument(std::string_view argument) {
  const size_t equals = argument.find('=');
  const std::string_view left = argument.substr(0, equals);
  const size_t dot = left.rfind('.');
  if (equals == std::string_view::npos || dot == std::string_view::npos) {
    return ArgumentError(argument.substr(0, 80),
                         "expected METRIC.LIMIT=NUMBER, such as accuracy.max_drop=0.005")
        .Remedy("limits are min, max, max_drop and max_relative_drop");
  }
  const std::string_view limit = Trim(left.substr(dot + 1));
  YamlNode bound{.kind = YamlNode::Kind::kMap};
  Put(bound, "metric", Scalar(left.substr(0, dot)));
  if (limit == "metric" || limit == "output") return ArgumentError(argument, "not a limit");
  Put(bound, limit, Scalar(argument.substr(equals + 1)));
  QualityBound result;
  MP_RETURN_IF_ERROR(YamlToMessage(bound, "", &result));
  return result;
}

}  // namespace modelpress
