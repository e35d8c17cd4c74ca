// The header of an .npy file: a Python dict literal with three known keys.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace modelpress {

struct NpyHeader {
  // Type string as NumPy writes it: "<f4", "|S12".
  std::string descr;
  bool fortran_order = false;
  std::vector<int64_t> shape;
};

// Parses the dict and nothing else of Python: DATA_INVALID for anything but the three keys, each once.
absl::StatusOr<NpyHeader> ParseNpyHeader(std::string_view text);

}  // namespace modelpress
