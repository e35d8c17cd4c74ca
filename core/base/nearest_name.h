// The closest right name for a typing slip.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace modelpress {

// The closest of `candidates` within a small edit distance, or "".
std::string NearestName(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace modelpress
