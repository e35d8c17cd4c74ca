// JSON from strangers: see json_text.h.
#include "core/formats/weights/json_text.h"

#include <set>
#include <utility>
#include <vector>

#include "core/base/format_string.h"
#include "core/base/status.h"

namespace modelpress {
namespace {

constexpr std::string_view kBare[] = {"-Infinity", "Infinity", "NaN"};

// The text with bare numbers of Python in quotes; nothing if there are none. `depth` receives the deepest level.
std::string Quoted(std::string_view text, int* depth) {
  std::string result;
  size_t copied = 0;
  int level = 0;
  bool inside = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (inside) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        inside = false;
      }
      continue;
    }
    if (c == '"') inside = true;
    if (c == '[' || c == '{') *depth = std::max(*depth, ++level);
    if (c == ']' || c == '}') --level;
    if (c != '-' && c != 'I' && c != 'N') continue;
    for (const std::string_view bare : kBare) {
      if (!text.substr(i).starts_with(bare)) continue;
      result.append(text.substr(copied, i - copied)).append(1, '"').append(bare).append(1, '"');
      i += bare.size() - 1;
      copied = i + 1;
      break;
    }
  }
  if (copied > 0) result.append(text.substr(copied));
  return result;
}

}  // namespace

absl::StatusOr<nlohmann::json> ParseJson(std::string_view text, std::string_view what,
                                         const std::function<bool(std::string_view)>& drop,
                                         bool unique_keys) {
  int depth = 0;
  const std::string quoted = Quoted(text, &depth);
  if (depth > kMaxJsonDepth) {
    return Error(ERROR_REASON_MODEL_LIMIT,
                 FormatString("{}: the JSON is {} levels deep", what, depth))
        .With("limit", std::to_string(kMaxJsonDepth));
  }
  if (!quoted.empty()) text = quoted;
  std::vector<std::set<std::string>> keys;
  std::string twice;
  using Event = nlohmann::json::parse_event_t;
  const auto filter = [&](int, Event event, nlohmann::json& value) {
    if (unique_keys && event == Event::object_start) keys.emplace_back();
    if (unique_keys && event == Event::object_end && !keys.empty()) keys.pop_back();
    if (event != Event::key) return true;
    const std::string& key = value.get_ref<const std::string&>();
    if (unique_keys && !keys.empty() && !keys.back().insert(key).second && twice.empty())
      twice = key;
    return !drop || !drop(key);
  };
  const bool plain = !unique_keys && !drop;
  nlohmann::json json;
  try {
    json = plain ? nlohmann::json::parse(text) : nlohmann::json::parse(text, filter);
  } catch (const nlohmann::json::exception& error) {
    return Error(ERROR_REASON_MODEL_MALFORMED,
                 FormatString("{} is not JSON: {}", what, error.what()));
  }
  if (!twice.empty()) {
    return Error(ERROR_REASON_MODEL_MALFORMED,
                 FormatString("{} has the key '{}' twice", what, twice))
        .With("key", twice);
  }
  return json;
}

}  // namespace modelpress
