// How many channels of which groups go.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "core/channels/dependency_groups.h"
#include "core/channels/narrow_model.h"

namespace modelpress {

// How a target for the whole model is spread over groups.
enum class ChannelAllocation {
  // The same share of every group.
  kEven,
  // The channels with the lowest scores for the multiply-accumulates they take, wherever they are.
  kByScore,
};

// What the number of channels that stay is rounded up to a multiple of where nobody said: 8 for
// groups of at least 16 that a convolution makes or reads, else 1. The runtime's convolutions work on
// blocks of 8 channels, and fall back to slower kernels for other numbers.
uint64_t MultipleFor(const Dependencies& dependencies, const DependencyGroup& group);

// Channels that go, by group; of equal scores the first. Groups with a reason, and those without
// scores, stay whole. With `width` the allocation is even. Errors: RECIPE_INVALID if the
// multiply-accumulates cannot be brought down to `macs`.
absl::StatusOr<RemovedChannels> SelectChannels(const Dependencies& dependencies,
                                               const std::vector<std::vector<double>>& scores,
                                               const NarrowOptions& options,
                                               ChannelAllocation allocation);

}  // namespace modelpress
