// Kinds of rows: see kinds.h.
#include "core/distill/kinds.h"

#include <algorithm>
#include <cmath>

#include "core/measure/task_metrics.h"

namespace modelpress {

std::vector<double> SurenessOfRows(const HeldOutData& data) {
  std::vector<double> result;
  if (data.task.output.empty() || data.task.class_axis < 0) return result;
  for (const PackedTarget& target : data.targets) {
    if (target.output != data.task.output) continue;
    TaskSettings task = data.task;
    task.probabilities |= target.probabilities;
    for (uint64_t row = 0; row < data.rows; ++row) {
      TensorMap outputs;
      outputs[target.output] = RowsOf(target.teacher, data.exact, row, 1);
      const auto reader = ClassReader::Make(task, outputs);
      if (!reader.ok()) return {};
      double sure = 0;
      for (uint64_t i = 0; i < reader->positions(); ++i) {
        const int64_t chosen = reader->Class(i, 0);
        if (chosen >= 0) sure += std::exp2(-reader->Bits(i, static_cast<uint64_t>(chosen)));
      }
      result.push_back(sure / static_cast<double>(std::max<uint64_t>(1, reader->positions())));
    }
  }
  return result;
}

Sureness CompareSureness(const std::vector<double>& sure, const std::vector<bool>& labelled) {
  double count[2] = {}, sum[2] = {}, squares[2] = {};
  for (size_t row = 0; row < sure.size(); ++row) {
    ++count[labelled[row]];
    sum[labelled[row]] += sure[row];
    squares[labelled[row]] += sure[row] * sure[row];
  }
  if (count[0] < 10 || count[1] < 10) return {};
  const double mean[2] = {sum[0] / count[0], sum[1] / count[1]};
  double error = 0;
  for (const int k : {0, 1}) {
    error += std::max(0.0, squares[k] / count[k] - mean[k] * mean[k]) / count[k];
  }
  return {mean[1], mean[0], error > 0 ? (mean[0] - mean[1]) / std::sqrt(error) : 0};
}

std::vector<uint32_t> KindsOfRows(const std::vector<double>& sure,
                                  const std::vector<bool>& labelled) {
  constexpr double kShares[] = {0.1, 0.25, 0.5};
  constexpr size_t kLeastLabelled = 40, kLeastOfAKind = 10;
  std::vector<double> with, without;
  for (size_t row = 0; row < sure.size(); ++row) {
    (labelled[row] ? with : without).push_back(sure[row]);
  }
  std::vector<uint32_t> kinds(labelled.size(), 0);
  if (with.size() < kLeastLabelled) return kinds;
  std::ranges::sort(with);
  std::ranges::sort(without);
  std::vector<double> ends;
  size_t below = 0;
  for (const double share : kShares) {
    const double end = with[static_cast<size_t>(share * static_cast<double>(with.size()))];
    const auto here = static_cast<size_t>(std::ranges::lower_bound(without, end) - without.begin());
    if (here < below + kLeastOfAKind || without.size() < here + kLeastOfAKind) continue;
    ends.push_back(end);
    below = here;
  }
  for (size_t row = 0; row < sure.size(); ++row) {
    kinds[row] = static_cast<uint32_t>(std::ranges::upper_bound(ends, sure[row]) - ends.begin());
  }
  return kinds;
}

}  // namespace modelpress
