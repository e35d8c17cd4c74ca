// The search for the smallest student: see staircase.h.
#include "core/distill/staircase.h"

#include <cmath>

#include "core/base/format_string.h"
#include "core/base/status.h"

namespace modelpress {
namespace {

// Between two sizes, a student that is larger than this share of the smallest that holds is not worth another training.
constexpr double kSameSize = 0.9;
// On the way down a student is passed over that is not smaller by this share of what the width is (1 - shrink). Widths say
// little of sizes where channels come in blocks, or where most groups are as narrow as they can be: of a convolutional
// network for digits five students in a row were seen that were 4 to 10 % smaller than the one before each.
constexpr double kLeastOfStep = 2.0 / 3;
// Of widths closer than this none gives another student.
constexpr double kSameWidth = 0.999;
// Widths that give the same student are passed over this often before the search ends.
constexpr int kMostRepeats = 40;

}  // namespace

absl::StatusOr<StaircaseResult> DescendStaircase(
    const StaircaseOptions& options,
    const std::function<absl::StatusOr<uint64_t>(double width)>& parameters,
    const std::function<absl::StatusOr<Trial>(double width)>& attempt) {
  // The smallest that holds, and the largest that does not (width 0: none yet).
  StaircaseResult best{.width = 1, .parameters = options.original_parameters};
  double missed = 0;
  uint64_t missed_parameters = 0;
  // Widths down to `high` give the same student as `best`, or one like it; as long as none missed, `next` is tried next.
  double high = 1, next = options.shrink;
  const double largest_step = 1 - kLeastOfStep * (1 - options.shrink);
  uint32_t students = 0;
  bool floor = false;
  for (int repeats = 0; repeats < kMostRepeats;) {
    if (students >= options.max_students) {
      best.end = FormatString("{} students were tried, as many as allowed", students);
      return best;
    }
    if (options.out_of_time && options.out_of_time()) {
      best.end = "the time is up";
      return best;
    }
    if (missed > kSameWidth * high) break;
    // Their middle would be too much like the one that holds.
    if (static_cast<double>(missed_parameters) >
        kSameSize * kSameSize * static_cast<double>(best.parameters)) {
      break;
    }
    const double width = missed > 0 ? std::sqrt(high * missed) : next;
    next = width * options.shrink;
    MP_ASSIGN_OR_RETURN(const uint64_t size, parameters(width));
    if (size >= best.parameters) {
      high = width;
      ++repeats;
      continue;
    }
    const double share = static_cast<double>(size) / static_cast<double>(best.parameters);
    if (missed == 0 && share > largest_step && size > options.smallest_parameters) {
      ++repeats;
      continue;
    }
    if (missed > 0 && size <= missed_parameters) {
      missed = width;
      ++repeats;
      continue;
    }
    if (size < options.min_parameters) {
      missed = width;
      missed_parameters = size;
      floor = true;
      ++repeats;
      continue;
    }
    // Sizes jump where channels come in blocks: the next width may give one that is worth it.
    if (missed > 0 && share > kSameSize) {
      high = width;
      ++repeats;
      continue;
    }
    repeats = 0;
    MP_ASSIGN_OR_RETURN(const Trial trial, attempt(width));
    students += trial.counts;
    if (trial.holds) {
      best.width = high = width;
      best.parameters = trial.parameters;
    } else {
      missed = width;
      missed_parameters = trial.parameters;
      floor = false;
    }
  }
  best.end = floor ? "a smaller one would have fewer parameters than min_parameters"
             : missed > 0
                 ? "there is no size between the smallest that holds and the largest that misses"
                 : "no student can be made smaller";
  return best;
}

}  // namespace modelpress
