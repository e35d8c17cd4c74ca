// The closest right name for a typing slip: see nearest_name.h.
#include "core/base/nearest_name.h"

#include <algorithm>
#include <numeric>

namespace modelpress {
namespace {

// Optimal string alignment distance: insertions, deletions, replacements and swaps of neighbours
// (V. Levenshtein 1966, F. Damerau 1964).
size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), previous(b.size() + 1), current(b.size() + 1);
  std::iota(previous.begin(), previous.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    current[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const bool same = a[i - 1] == b[j - 1];
      current[j] = std::min({previous[j] + 1, current[j - 1] + 1, previous[j - 1] + !same});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        current[j] = std::min(current[j], before[j - 2] + 1);
      }
    }
    std::swap(before, previous);
    std::swap(previous, current);
  }
  return previous.back();
}

}  // namespace

std::string NearestName(std::string_view name, const std::vector<std::string>& candidates) {
  constexpr size_t kLongestName = 64;  // longer ones are no slips, and the distance is quadratic
  if (name.size() > kLongestName) return "";
  std::string best;
  // A third of the letters may be wrong, and never all of them.
  size_t best_distance =
      std::max<size_t>(1, std::min(name.size() - !name.empty(), name.size() / 3)) + 1;
  for (const std::string& candidate : candidates) {
    const size_t distance = EditDistance(name, candidate);
    if (distance >= best_distance) continue;
    best = candidate;
    best_distance = distance;
  }
  if (!best.empty()) return best;
  // Beyond slips: a name that was shortened ("quantize", "dead_zone").
  for (const std::string& candidate : candidates) {
    if (name.size() >= 3 && candidate.find(name) != std::string::npos) return candidate;
  }
  return "";
}

}  // namespace modelpress
