// JSON from strangers: the depth is checked before anything is parsed, and what Python writes beyond the standard
// (Infinity, -Infinity, NaN) becomes strings.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string_view>

#include "absl/status/statusor.h"

namespace modelpress {

inline constexpr int kMaxJsonDepth = 256;

// `drop` says for a key of an object whether to leave it out with all that it holds; null: nothing is left out. Keys that
// stand twice in one object are refused where `unique_keys` is set. MODEL_MALFORMED, starting with `what`, for text that is
// not JSON; MODEL_LIMIT for more than kMaxJsonDepth levels.
absl::StatusOr<nlohmann::json> ParseJson(std::string_view text, std::string_view what,
                                         const std::function<bool(std::string_view key)>& drop,
                                         bool unique_keys = false);

}  // namespace modelpress
