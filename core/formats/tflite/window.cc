// Padding of sliding windows: see window.h.
#include "core/formats/tflite/window.h"

#include <algorithm>

namespace modelpress::tflite {

absl::StatusOr<Attributes> WindowAttributes(const OperatorContext& context,
                                            const std::vector<WindowAxis>& axes,
                                            schema::Padding padding) {
  std::vector<int64_t> strides, dilations, begins, ends;
  bool known = true;
  for (const WindowAxis& axis : axes) {
    if (axis.stride < 1 || axis.dilation < 1 || axis.kernel < 1) {
      return context.Malformed("a stride, dilation or extent of its window is below 1");
    }
    strides.push_back(axis.stride);
    dilations.push_back(axis.dilation);
    // A window that covers one element moved by one pads nothing whatever the extent is.
    const int64_t reach = (axis.kernel - 1) * axis.dilation + 1;
    if (padding == schema::Padding::VALID || (reach == 1 && axis.stride == 1)) {
      begins.push_back(0);
      ends.push_back(0);
    } else if (axis.stride == 1) {
      begins.push_back((reach - 1) / 2);
      ends.push_back(reach - 1 - (reach - 1) / 2);
    } else if (axis.input >= 0) {
      const int64_t output = (axis.input + axis.stride - 1) / axis.stride;
      const int64_t total = std::max<int64_t>((output - 1) * axis.stride + reach - axis.input, 0);
      begins.push_back(total / 2);
      ends.push_back(total - total / 2);
    } else {
      known = false;
    }
  }
  Attributes attributes;
  const auto is_not = [](int64_t neutral) {
    return [neutral](int64_t value) { return value != neutral; };
  };
  if (std::ranges::any_of(strides, is_not(1))) attributes.push_back({"strides", strides});
  if (std::ranges::any_of(dilations, is_not(1))) attributes.push_back({"dilations", dilations});
  if (!known) {
    attributes.push_back({"auto_pad", std::string("SAME_UPPER")});
    return attributes;
  }
  begins.insert(begins.end(), ends.begin(), ends.end());
  if (std::ranges::any_of(begins, is_not(0))) attributes.push_back({"pads", begins});
  return attributes;
}

}  // namespace modelpress::tflite
