// Counts for people.
#pragma once

#include <cstdint>
#include <string>

namespace modelpress {

// "148,282".
std::string FormatCount(uint64_t count);

}  // namespace modelpress
