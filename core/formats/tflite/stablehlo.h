// What the translations of STABLEHLO_* operators share. Their meaning is that of the StableHLO specification; LiteRT has
// kernels for some of them only.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/formats/tflite/operator.h"

namespace modelpress::tflite {

// The elements of a list among the options; none where it is left out.
template <typename T>
std::vector<int64_t> List(const flatbuffers::Vector<T>* values) {
  return values == nullptr ? std::vector<int64_t>()
                           : std::vector<int64_t>(values->begin(), values->end());
}

// Whether the numbers are different axes of a tensor of that rank.
bool AreAxes(const std::vector<int64_t>& axes, int64_t rank);

// `x`, whose shape is known, with `gaps[i]` elements of the scalar `value` between neighbours along axis i, and `low[i]` and
// `high[i]` of them before and behind all; negative ones take elements away. Reshape, Pad, Reshape, Pad; Pad alone without
// gaps. MODEL_MALFORMED where nothing or less is left of an axis.
absl::StatusOr<std::string> Dilated(OperatorContext& c, const std::string& x,
                                    const std::vector<int64_t>& shape,
                                    const std::vector<int64_t>& gaps,
                                    const std::vector<int64_t>& low,
                                    const std::vector<int64_t>& high, const std::string& value);

// What a graph of one operator makes of its two inputs: "Add", "Mul", "Max", "Min", "And" or "Or" of ONNX; "" if it hands
// on the second one. Other graphs are refused.
absl::StatusOr<std::string_view> Combination(OperatorContext& c, int graph);

}  // namespace modelpress::tflite
