// Windows that slide over the axes behind batch and channel: convolutions and pools.
#pragma once

#include <vector>

#include "core/trainer/operator.h"

namespace modelpress::trainer {

struct Window {
  std::vector<int64_t> kernel, strides, dilations;
};
// With the defaults of the operators' attributes. Throws where ranks differ or a value is not positive.
Window WindowOf(const OperatorCall& call, at::IntArrayRef kernel);

struct Pads {
  std::vector<int64_t> begin, end;
};
// From pads or auto_pad.
Pads PadsOf(const OperatorCall& call, const Window& window, at::IntArrayRef extents);
// What ceil_mode adds at the end so that the last window fits; windows that would begin in the padding at the end are left
// out (ONNX since opset 19, and the runtime always).
std::vector<int64_t> CeilPads(const Window& window, const Pads& pads, at::IntArrayRef extents);

// Adds (or cuts off, where negative) at the beginning and end of the last axes.
at::Tensor Padded(const at::Tensor& x, const std::vector<int64_t>& begin,
                  const std::vector<int64_t>& end, double value);

}  // namespace modelpress::trainer
