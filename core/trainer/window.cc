// Sliding windows: see window.h.
#include "core/trainer/window.h"

#include <algorithm>

namespace modelpress::trainer {

Window WindowOf(const OperatorCall& call, at::IntArrayRef kernel) {
  Window window;
  window.kernel = call.Ints("kernel_shape", kernel.vec());
  const std::vector<int64_t> ones(window.kernel.size(), 1);
  window.strides = call.Ints("strides", ones);
  window.dilations = call.Ints("dilations", ones);
  for (const auto* values : {&window.kernel, &window.strides, &window.dilations}) {
    if (values->size() != ones.size() ||
        std::ranges::any_of(*values, [](auto v) { return v < 1; })) {
      throw OperatorError("kernel_shape, strides and dilations do not go together");
    }
  }
  return window;
}

Pads PadsOf(const OperatorCall& call, const Window& window, at::IntArrayRef extents) {
  const size_t rank = window.kernel.size();
  if (extents.size() != rank) throw OperatorError("the input has another rank than the kernel");
  Pads pads{std::vector<int64_t>(rank, 0), std::vector<int64_t>(rank, 0)};
  const std::string automatic = call.String("auto_pad", "NOTSET");
  if (automatic == "SAME_UPPER" || automatic == "SAME_LOWER") {
    for (size_t i = 0; i < rank; ++i) {
      const int64_t outputs = (extents[i] + window.strides[i] - 1) / window.strides[i];
      const int64_t total =
          std::max<int64_t>(0, (outputs - 1) * window.strides[i] +
                                   (window.kernel[i] - 1) * window.dilations[i] + 1 - extents[i]);
      pads.begin[i] = automatic == "SAME_UPPER" ? total / 2 : total - total / 2;
      pads.end[i] = total - pads.begin[i];
    }
    return pads;
  }
  if (automatic == "VALID") return pads;
  const std::vector<int64_t> given = call.Ints("pads", std::vector<int64_t>(2 * rank, 0));
  if (given.size() != 2 * rank) throw OperatorError("pads have another rank than the kernel");
  pads.begin.assign(given.begin(), given.begin() + static_cast<ptrdiff_t>(rank));
  pads.end.assign(given.begin() + static_cast<ptrdiff_t>(rank), given.end());
  return pads;
}

std::vector<int64_t> CeilPads(const Window& window, const Pads& pads, at::IntArrayRef extents) {
  std::vector<int64_t> more(window.kernel.size(), 0);
  for (size_t i = 0; i < more.size(); ++i) {
    const int64_t span = (window.kernel[i] - 1) * window.dilations[i] + 1;
    const int64_t padded = extents[i] + pads.begin[i] + pads.end[i];
    const int64_t stride = window.strides[i];
    int64_t outputs = (std::max<int64_t>(padded - span, 0) + stride - 1) / stride + 1;
    if ((outputs - 1) * stride >= extents[i] + pads.begin[i]) --outputs;
    more[i] = std::max<int64_t>(0, (outputs - 1) * stride + span - padded);
  }
  return more;
}

at::Tensor Padded(const at::Tensor& x, const std::vector<int64_t>& begin,
                  const std::vector<int64_t>& end, double value) {
  const auto zero = [](int64_t pad) { return pad == 0; };
  if (std::ranges::all_of(begin, zero) && std::ranges::all_of(end, zero)) return x;
  std::vector<int64_t> pads;  // of the last axis first
  for (size_t i = begin.size(); i-- > 0;) {
    pads.push_back(begin[i]);
    pads.push_back(end[i]);
  }
  return at::constant_pad_nd(x, pads, value);
}

}  // namespace modelpress::trainer
