// How far a distillation is: a share of the time that it is expected to take, so that who divides learns the time left.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>

namespace modelpress {

class SearchProgress {
 public:
  // `tell` may be null; it gets shares that never fall.
  explicit SearchProgress(std::function<void(double fraction, std::string_view detail)> tell)
      : tell_(std::move(tell)) {}

  // Samples are packed; `fraction` of that.
  void Packing(double fraction);
  // A student is made and judged, or anything else that takes little time beside training.
  void Making(const std::string& detail);
  // A training begins. Those that may follow it take `later` times as long together.
  void BeginTraining(double later);
  void Training(double fraction, const std::string& detail);

 private:
  using Clock = std::chrono::steady_clock;

  double SecondsSince(Clock::time_point then) const;
  void Tell(double fraction, std::string_view detail);

  std::function<void(double fraction, std::string_view detail)> tell_;
  Clock::time_point begun_ = Clock::now(), training_begun_ = begun_;
  double later_ = 0, told_ = 0;
};

}  // namespace modelpress
