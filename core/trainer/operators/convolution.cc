// Convolutions in one, two and three dimensions.
#include "core/trainer/operator.h"
#include "core/trainer/window.h"

namespace modelpress::trainer {
namespace {

Tensors Conv(const OperatorCall& call) {
  const at::Tensor& x = call[0];
  const at::Tensor& weight = call[1];
  const Window window = WindowOf(call, weight.sizes().slice(2));
  const Pads pads = PadsOf(call, window, x.sizes().slice(2));
  const at::Tensor bias = call.Has(2) ? call[2] : at::Tensor();
  const std::vector<int64_t> none(window.kernel.size(), 0);
  const bool even = pads.begin == pads.end;
  return {at::convolution(even ? x : Padded(x, pads.begin, pads.end, 0), weight, bias,
                          window.strides, even ? pads.begin : none, window.dilations,
                          /*transposed=*/false, none, call.Int("group", 1))};
}

// The plain transposed convolution gives (in - 1) stride + (kernel - 1) dilation + 1 values; what the pads say is cut
// off, or, where output_padding asks for more, added.
Tensors ConvTranspose(const OperatorCall& call) {
  const at::Tensor& x = call[0];
  const at::Tensor& weight = call[1];
  const Window window = WindowOf(call, weight.sizes().slice(2));
  const size_t rank = window.kernel.size();
  const std::vector<int64_t> none(rank, 0);
  const std::vector<int64_t> more = call.Ints("output_padding", none);
  const std::vector<int64_t> shape = call.Ints("output_shape");
  const std::string automatic = call.String("auto_pad", "NOTSET");
  std::vector<int64_t> pads = call.Ints("pads", std::vector<int64_t>(2 * rank, 0));
  if (more.size() != rank || pads.size() != 2 * rank || (!shape.empty() && shape.size() < rank)) {
    throw OperatorError("attributes have another rank than the kernel");
  }
  std::vector<int64_t> begin(rank), end(rank);
  for (size_t i = 0; i < rank; ++i) {
    const int64_t full = (x.size(static_cast<int64_t>(i) + 2) - 1) * window.strides[i] +
                         (window.kernel[i] - 1) * window.dilations[i] + 1;
    if (!shape.empty() || automatic.starts_with("SAME")) {
      const int64_t wanted = shape.empty() ? x.size(static_cast<int64_t>(i) + 2) * window.strides[i]
                                           : shape[shape.size() - rank + i];
      const int64_t total = full + more[i] - wanted;
      // Where there is too little, it is added at the end.
      pads[i] = total < 0 ? 0 : automatic == "SAME_UPPER" ? total / 2 : total - total / 2;
      pads[i + rank] = total - pads[i];
    } else if (automatic == "VALID") {
      pads[i] = pads[i + rank] = 0;
    }
    begin[i] = -pads[i];
    end[i] = more[i] - pads[i + rank];
  }
  at::Tensor y = at::convolution(x, weight, {}, window.strides, none, window.dilations,
                                 /*transposed=*/true, none, call.Int("group", 1));
  y = Padded(y, begin, end, 0);
  if (call.Has(2)) {
    std::vector<int64_t> broadcast(rank + 2, 1);
    broadcast[1] = -1;
    y = y + call[2].view(broadcast);
  }
  return {y};
}

// Sums of the blocks that lie over each other; libtorch knows it for two axes.
Tensors Col2Im(const OperatorCall& call) {
  std::vector<int64_t> extents = call.IntsAt(1);
  const std::vector<int64_t> block = call.IntsAt(2), ones = {1, 1}, none = {0, 0};
  const std::vector<int64_t> dilations = call.Ints("dilations", ones),
                             strides = call.Ints("strides", ones),
                             pads = call.Ints("pads", {0, 0, 0, 0});
  if (extents.size() != 2 || block.size() != 2 || pads.size() != 4) {
    throw OperatorError("only images of two axes are put together");
  }
  for (size_t i = 0; i < 2; ++i) extents[i] += pads[i] + pads[i + 2];
  const at::Tensor whole = at::col2im(call[0], extents, block, dilations, none, strides);
  return {Padded(whole, {-pads[0], -pads[1]}, {-pads[2], -pads[3]}, 0)};
}

}  // namespace

void RegisterOperators_convolution(OperatorRegistry& registry) {
  registry.Add("Conv", Conv);
  registry.Add("Col2Im", Col2Im);
  registry.Add("ConvTranspose", ConvTranspose);
}

}  // namespace modelpress::trainer
