// Time that is left: see search_progress.h.
#include "core/distill/search_progress.h"

#include <algorithm>

#include "core/base/format_string.h"

namespace modelpress {
namespace {

// The share of progress that packing samples takes, and what is shown at most before all is done.
constexpr double kPacking = 0.05, kMost = 0.99;
// A training that is less far than this says little of how long it takes.
constexpr double kTelling = 0.02;

}  // namespace

double SearchProgress::SecondsSince(Clock::time_point then) const {
  return std::chrono::duration<double>(Clock::now() - then).count();
}

void SearchProgress::Tell(double fraction, std::string_view detail) {
  told_ = std::clamp(fraction, told_, kMost);
  if (tell_) tell_(told_, detail);
}

void SearchProgress::Packing(double fraction) {
  Tell(kPacking * fraction, "the original's outputs");
}

void SearchProgress::Making(const std::string& detail) { Tell(told_, detail); }

void SearchProgress::BeginTraining(double later) {
  training_begun_ = Clock::now();
  later_ = later;
}

void SearchProgress::Training(double fraction, const std::string& detail) {
  if (fraction < kTelling) return Tell(told_, detail);
  const double whole = SecondsSince(training_begun_) / fraction;
  const double left = whole * (1 - fraction + later_);
  const double done = SecondsSince(begun_);
  Tell(done / std::max(done + left, 1e-9),
       later_ > 0 ? FormatString("{}; about {:.0f} s to the end", detail, left) : detail);
}

}  // namespace modelpress
