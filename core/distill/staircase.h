// The search for the smallest student that holds: down by a step until one misses, then between the last two.
//
//   width  1 --> 0.7 --> 0.49 --> 0.34 --> 0.24 misses
//                                 0.34 <-- 0.29 --> ...      by the geometric mean, until sizes hardly differ
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"

namespace modelpress {

struct StaircaseOptions {
  // Width of a student as a share of that of the one before. Steps that make a student hardly smaller are taken together.
  double shrink = 0.7;
  // Of students that count (Trial::counts).
  uint32_t max_students = 12;
  uint64_t min_parameters = 0;
  // Parameters of the original, whose width is 1, and of the narrowest student there is.
  uint64_t original_parameters = 0, smallest_parameters = 0;
  // Looked at before each student; may be null.
  std::function<bool()> out_of_time;
};

struct Trial {
  uint64_t parameters = 0;
  bool holds = false;
  // Whether it is one of max_students: it was trained.
  bool counts = true;
};

struct StaircaseResult {
  // Of the smallest that holds; 1: none does.
  double width = 1;
  uint64_t parameters = 0;
  // Why it went no further; for people.
  std::string end;
};

// `parameters(width)`: how large a student of that width is; never more for a smaller width. `attempt(width)`: makes and
// judges it; never called for fewer parameters than `min_parameters`, nor twice for the same number of parameters. Their
// errors end the search.
absl::StatusOr<StaircaseResult> DescendStaircase(
    const StaircaseOptions& options,
    const std::function<absl::StatusOr<uint64_t>(double width)>& parameters,
    const std::function<absl::StatusOr<Trial>(double width)>& attempt);

}  // namespace modelpress
