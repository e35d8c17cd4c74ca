// Which weights get more bits, where all together must fit into a number of bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace modelpress {

// One way to store a weight.
struct BitOption {
  uint64_t bytes = 0;
  // What it costs in quality; comparable between weights.
  double loss = 0;
};

// Chooses one option for each weight (their options in order of growing bytes) so that the bytes are
// at most `budget`: from the smallest options on, again and again the step that takes off the most
// loss per byte and still fits. Equal ones in the order of weights. Nothing if even the smallest
// options do not fit. O(n^2 log n) at worst, n options.
std::optional<std::vector<size_t>> FitBudget(std::span<const std::vector<BitOption>> weights,
                                             uint64_t budget);

}  // namespace modelpress
