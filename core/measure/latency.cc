// Interleaved latency: see latency.h.
#include "core/measure/latency.h"

#include <algorithm>
#include <chrono>
#include <vector>

namespace modelpress {
namespace {

constexpr int kMinRuns = 5;

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

absl::StatusOr<double> TimeOnce(const Session& session, const TensorMap& inputs) {
  const Clock::time_point start = Clock::now();
  MP_RETURN_IF_ERROR(session.Run(inputs).status());
  return SecondsSince(start);
}

// Linear interpolation between order statistics (type 7 of Hyndman and Fan 1996, NumPy's default).
// `sorted` not empty.
double Quantile(const std::vector<double>& sorted, double share) {
  const double position = share * static_cast<double>(sorted.size() - 1);
  const size_t below = static_cast<size_t>(position);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (position - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

}  // namespace

absl::StatusOr<Latency> CompareLatency(const Session& original, const Session& artifact,
                                       const TensorMap& original_inputs,
                                       const TensorMap& artifact_inputs, int threads, int max_runs,
                                       double max_seconds, const Cancellation& cancellation) {
  const Session* sessions[] = {&original, &artifact};
  const TensorMap* inputs[] = {&original_inputs, &artifact_inputs};
  std::vector<double> times[2];
  for (int which = 0; which < 2; ++which) {
    MP_RETURN_IF_ERROR(cancellation.Check());
    MP_RETURN_IF_ERROR(TimeOnce(*sessions[which], *inputs[which]).status());
  }
  const Clock::time_point start = Clock::now();
  for (int run = 0; run < std::max(max_runs, kMinRuns); ++run) {
    if (run >= kMinRuns && SecondsSince(start) > max_seconds) break;
    for (int turn = 0; turn < 2; ++turn) {
      // Who goes first alternates, so that neither always finds the caches as the other left them.
      const int which = (run + turn) % 2;
      MP_RETURN_IF_ERROR(cancellation.Check());
      MP_ASSIGN_OR_RETURN(const double seconds, TimeOnce(*sessions[which], *inputs[which]));
      times[which].push_back(seconds);
    }
  }
  for (std::vector<double>& list : times) std::ranges::sort(list);
  Latency latency;
  latency.set_threads(static_cast<uint32_t>(threads));
  latency.set_runs(static_cast<uint32_t>(times[0].size()));
  latency.set_original_median_seconds(Quantile(times[0], 0.5));
  latency.set_original_spread_seconds(Quantile(times[0], 0.75) - Quantile(times[0], 0.25));
  latency.set_artifact_median_seconds(Quantile(times[1], 0.5));
  latency.set_artifact_spread_seconds(Quantile(times[1], 0.75) - Quantile(times[1], 0.25));
  return latency;
}

}  // namespace modelpress
