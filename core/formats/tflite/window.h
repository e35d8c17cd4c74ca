// Padding of sliding windows, as convolutions and pools share it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/formats/tflite/operator.h"

namespace modelpress::tflite {

// One spatial axis.
struct WindowAxis {
  int64_t input = -1;  // extent; -1: not known
  int64_t kernel = 1;
  int64_t stride = 1;
  int64_t dilation = 1;
};

// The attributes strides, dilations (if any is not 1) and pads or auto_pad. SAME pads so that the output has
// ceil(input / stride) elements, the odd one at the end; where the input is not known that is ONNX's SAME_UPPER.
// MODEL_MALFORMED for strides and the like below 1.
absl::StatusOr<Attributes> WindowAttributes(const OperatorContext& context,
                                            const std::vector<WindowAxis>& axes,
                                            schema::Padding padding);

}  // namespace modelpress::tflite
