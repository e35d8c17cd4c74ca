// Counts for people: see format_count.h.
#include "core/base/format_count.h"

namespace modelpress {

std::string FormatCount(uint64_t count) {
  std::string text = std::to_string(count);
  for (size_t at = text.size(); at > 3; at -= 3) text.insert(at - 3, ",");
  return text;
}

}  // namespace modelpress
