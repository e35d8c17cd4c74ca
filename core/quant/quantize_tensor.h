// A whole float32 tensor to 8-bit codes, in parallel, with one scale per channel or one for the
// tensor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/job_context.h"
#include "core/quant/affine.h"
#include "core/quant/code_kernels.h"

namespace modelpress {

// Where the channels of a row-major tensor lie: element (o, c, i) is at (o * channels + c) * inner
// + i.
struct ChannelLayout {
  uint64_t outer = 1;
  uint64_t channels = 1;
  uint64_t inner = 1;

  uint64_t elements() const { return outer * channels * inner; }
};
// The layout of `dims` with channels on `axis` (0 <= axis < rank); the caller has checked that the
// product fits.
ChannelLayout LayoutOf(std::span<const int64_t> dims, size_t axis);
// The whole tensor as one channel.
ChannelLayout WholeTensor(uint64_t elements);

struct QuantizedTensor {
  // False: a value is NaN or infinite, and nothing else here is meaningful.
  bool finite = true;
  std::vector<AffineParameters> parameters;  // one for each channel
  ErrorSums sums;
};

// Called with the number of bytes of floats that are finished, from any thread.
using ByteProgress = std::function<void(uint64_t bytes)>;

// Work is cut into pieces of about 1 MiB whose borders depend on the layout alone, so that codes,
// scales and sums are the same for any number of threads. Where channels are rows that fit in the
// cache, memory is read once. `values` holds layout.elements() floats at any alignment, `codes` as
// many bytes. Errors: only cancellation.
absl::StatusOr<QuantizedTensor> QuantizeTensor(std::span<const std::byte> values,
                                               const ChannelLayout& layout, const AffineRule& rule,
                                               float dead_zone, std::span<std::byte> codes,
                                               const JobContext& context,
                                               const ByteProgress& progress);

// The same with given parameters, one for each channel. Values must be finite.
absl::StatusOr<ErrorSums> QuantizeTensorWith(std::span<const std::byte> values,
                                             const ChannelLayout& layout, const AffineRule& rule,
                                             std::span<const AffineParameters> parameters,
                                             std::span<std::byte> codes, const JobContext& context);

// Scale and zero point of each channel only (`parameters` of the result; sums are empty).
absl::StatusOr<QuantizedTensor> ChooseTensorParameters(std::span<const std::byte> values,
                                                       const ChannelLayout& layout,
                                                       const AffineRule& rule,
                                                       const JobContext& context);

}  // namespace modelpress
