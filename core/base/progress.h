// Progress of a job: weighted steps that add up to 1, reported to one sink.
//
//   ProgressTracker tracker(sink, {{"read", 1}, {"quantize_weights", 6}, {"judge", 3}});
//   tracker.Start("read");
//   tracker.Update(0.5, "fc.weight");     // half of the current step
#pragma once

#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace modelpress::v1 {
class Progress;
}  // namespace modelpress::v1

namespace modelpress {

// Called from any thread, one call at a time; must not block.
using ProgressSink = std::function<void(const v1::Progress&)>;

class ProgressTracker {
 public:
  struct Step {
    std::string name;
    double weight = 1;
  };

  // A null sink is allowed and makes every call a no-op.
  ProgressTracker(ProgressSink sink, std::vector<Step> steps);
  ProgressTracker(const ProgressTracker&) = delete;
  ProgressTracker& operator=(const ProgressTracker&) = delete;

  // Begins the next step with that name (steps are started in order; skipped ones count as done).
  void Start(std::string_view name);
  // 0..1 within the current step; never goes backwards. Thread-safe; calls closer than 50 ms are dropped unless they
  // finish the step.
  void Update(double fraction, std::string_view detail = "");

 private:
  void Emit(std::string_view detail);

  std::mutex mutex_;
  ProgressSink sink_;
  std::vector<Step> steps_;
  double total_weight_ = 0;
  size_t current_ = 0;
  double done_weight_ = 0;
  double fraction_ = 0;
  int64_t last_emit_ms_ = 0;
};

}  // namespace modelpress
