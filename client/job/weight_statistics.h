// What is in the weights of a model: zeros, extremes, a small histogram; for inspecting, not for deciding.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "core/base/job_context.h"
#include "core/model/model.h"

namespace modelpress {

inline constexpr size_t kHistogramBins = 16;

struct WeightStatistics {
  std::string name;
  // The node that reads it first: its operator and name; several readers are counted.
  std::string op;
  std::string node;
  size_t readers = 0;
  DataType type = DataType::kUndefined;
  std::vector<int64_t> dims;
  uint64_t elements = 0;
  uint64_t bytes = 0;
  uint64_t zeros = 0;  // exactly 0; a quantized weight's zero point is not looked up
  uint64_t not_finite = 0;
  double min = 0;  // over finite values
  double max = 0;
  // Finite values in equal bins from min to max.
  std::array<uint64_t, kHistogramBins> histogram{};
};

// Every numeric tensor of the model in graph order, shape constants (and what feeds them) left out. Reads every byte
// twice, in parallel over tensors; cancellable. The model is not changed (its graph is walked through a mutable view).
absl::StatusOr<std::vector<WeightStatistics>> InspectWeights(Model& model,
                                                             const JobContext& context);

}  // namespace modelpress
