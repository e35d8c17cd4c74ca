// What a pass wants to know about a model's values: planned first, gathered together.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/model/value_key.h"

namespace modelpress {

// How rows are read off a value for X^T X.
struct GramLayout {
  enum class Kind {
    // Rows of K channels on the last axis: input A of MatMul and Gemm.
    kLast,
    // Patches of a convolution over the value [N, C, spatial...]: for each of `group` groups one
    // Gram of K = C / group * product(kernel), in the order of the weight's axes after the first.
    // Positions in the padding are 0.
    kConv,
  };
  Kind kind = Kind::kLast;
  // Only for kConv, one for each spatial axis; pads as ONNX has them: all beginnings, then all
  // ends.
  std::vector<int64_t> kernel, strides, dilations, pads;
  int64_t group = 1;

  bool operator==(const GramLayout&) const = default;
};

// Smallest and largest value are always gathered.
struct StatisticRequest {
  ValueKey key;
  bool histogram = false;
  // Minimum, maximum, mean and mean square for each channel on this axis; negative counts from the
  // end.
  std::optional<int64_t> channel_axis;
  // X^T X, averaged over rows.
  std::optional<GramLayout> gram;
};

}  // namespace modelpress
