// Cross-layer equalization: factors for the channels of a model's values that make the channels of
// each weight equally large, so that one scale for a whole tensor fits all of them.
//
// Source: Nagel et al. 2019, "Data-free quantization through weight equalization and bias
// correction", section 4.1. For a value made by W1 (output channel c, range r1_c = max |W1_c|) and
// read by W2 (input channel c, range r2_c), the factor t_c = sqrt(r2_c / r1_c) makes both ranges
// sqrt(r1_c r2_c). With several makers and readers (residual streams) ranges are their geometric
// means, and the range of the value itself, where it is known, counts as one more maker's. Layers
// share weights with their neighbours, so groups are solved in turn until nothing moves.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "core/base/job_context.h"
#include "core/quant/channel_groups.h"

namespace modelpress {

// What is known of one group's values on calibration data; empty vectors: nothing.
struct GroupRanges {
  // Largest |value| of each channel.
  std::vector<double> value;
  // Largest factor that each channel may take (infinity: any); channels whose factor must stay 1
  // have `pinned`.
  std::vector<double> highest;
  std::vector<bool> pinned;
};

struct EqualizedGroup {
  // One for each channel, > 0; all 1 if equalizing gains nothing.
  std::vector<double> factors;
  bool changed = false;
  // Bits that the average channel loses to the largest one: mean of log2(R / r_c) over channels and
  // tensors (weights, and the value where its range is known).
  double bits_before = 0, bits_after = 0;
};

// `ranges` has one entry for each group. A group that would not gain is left alone. Deterministic;
// reads every weight a few dozen times. Errors: cancellation, MODEL_MALFORMED.
absl::StatusOr<std::vector<EqualizedGroup>> SolveEqualization(
    const Model& model, const ChannelGroups& groups, const std::vector<GroupRanges>& ranges,
    const JobContext& context);

// Multiplies and divides weights and biases by the factors of their groups, in double precision.
// `factors` has one entry for each group; an empty one is all 1. Pointers stay valid.
absl::Status ApplyFactors(Model& model, const ChannelGroups& groups,
                          const std::vector<std::vector<double>>& factors, WeightArena& arena,
                          const JobContext& context);

}  // namespace modelpress
