// Which weights get more bits; see bit_budget.h.
#include "core/quant/bit_budget.h"

#include <queue>

namespace modelpress {
namespace {

// Going from the chosen option of a weight to a later one.
struct Step {
  double gain_per_byte;
  size_t weight, from, to;

  // The queue gives the largest first: most gain, then the first weight.
  bool operator<(const Step& other) const {
    return gain_per_byte != other.gain_per_byte ? gain_per_byte < other.gain_per_byte
                                                : weight > other.weight;
  }
};

}  // namespace

std::optional<std::vector<size_t>> FitBudget(std::span<const std::vector<BitOption>> weights,
                                             uint64_t budget) {
  std::vector<size_t> chosen(weights.size());
  uint64_t bytes = 0;
  for (const auto& options : weights) bytes += options[0].bytes;
  if (bytes > budget) return std::nullopt;
  std::priority_queue<Step> steps;
  const auto add_steps = [&](size_t weight) {
    const auto& options = weights[weight];
    const size_t from = chosen[weight];
    for (size_t to = from + 1; to < options.size(); ++to) {
      const double gain = options[from].loss - options[to].loss;
      const uint64_t more = options[to].bytes - options[from].bytes;
      if (gain > 0) {
        steps.push({gain / static_cast<double>(more > 0 ? more : 1), weight, from, to});
      }
    }
  };
  for (size_t i = 0; i < weights.size(); ++i) add_steps(i);
  while (!steps.empty()) {
    const Step step = steps.top();
    steps.pop();
    if (step.from != chosen[step.weight]) continue;  // the weight has moved on since
    const uint64_t more =
        weights[step.weight][step.to].bytes - weights[step.weight][step.from].bytes;
    if (more > budget - bytes) continue;
    bytes += more;
    chosen[step.weight] = step.to;
    add_steps(step.weight);
  }
  return chosen;
}

}  // namespace modelpress
