// Weighted progress of a job: see progress.h.
#include "core/base/progress.h"
#include "modelpress/v1/report.pb.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace modelpress {
namespace {

constexpr int64_t kMinimumIntervalMs = 50;

int64_t NowMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

ProgressTracker::ProgressTracker(ProgressSink sink, std::vector<Step> steps)
    : sink_(std::move(sink)), steps_(std::move(steps)), current_(steps_.size()) {
  for (const Step& step : steps_) total_weight_ += step.weight;
}

void ProgressTracker::Start(std::string_view name) {
  std::lock_guard lock(mutex_);
  const size_t first = current_ == steps_.size() ? 0 : current_ + 1;
  for (size_t i = first; i < steps_.size(); ++i) {
    if (steps_[i].name != name) continue;
    current_ = i;
    done_weight_ = 0;
    for (size_t j = 0; j < i; ++j) done_weight_ += steps_[j].weight;
    fraction_ = 0;
    Emit("");
    return;
  }
}

void ProgressTracker::Update(double fraction, std::string_view detail) {
  std::lock_guard lock(mutex_);
  if (current_ == steps_.size()) return;
  fraction = std::clamp(fraction, 0.0, 1.0);
  const bool finishes = fraction >= 1 && fraction_ < 1;
  fraction_ = std::max(fraction_, fraction);
  if (!finishes && NowMs() - last_emit_ms_ < kMinimumIntervalMs) return;
  Emit(detail);
}

void ProgressTracker::Emit(std::string_view detail) {
  if (!sink_) return;
  last_emit_ms_ = NowMs();
  const Step& step = steps_[current_];
  v1::Progress progress;
  progress.set_phase(step.name);
  progress.set_phase_fraction(fraction_);
  progress.set_total_fraction(
      total_weight_ > 0 ? (done_weight_ + step.weight * fraction_) / total_weight_ : 0);
  progress.set_detail(std::string(detail));
  sink_(progress);
}

}  // namespace modelpress
