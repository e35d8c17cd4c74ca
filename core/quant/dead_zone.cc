// Choosing the dead zone of a tensor from a histogram of its magnitudes; see dead_zone.h.
#include "core/quant/dead_zone.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <vector>

#include "core/base/status.h"
#include "core/quant/range_kernels.h"

namespace modelpress {
namespace {

constexpr size_t kBins = 2048;
// Parts of the tensor with a histogram of their own: their sums are added in order, so threads
// change nothing.
constexpr uint64_t kParts = 16;
constexpr uint64_t kStep = 256 * 1024;

struct Histogram {
  std::array<uint64_t, kBins> count{};
  std::array<double, kBins> square{};   // what zeroing the bin costs
  std::array<double, kBins> rounded{};  // what rounding it costs
};

}  // namespace

absl::StatusOr<float> ChooseDeadZone(std::span<const std::byte> values, const ChannelLayout& layout,
                                     std::span<const AffineParameters> parameters,
                                     double min_sparsity, const JobContext& context) {
  const uint64_t elements = layout.elements();
  float largest = 0;
  for (const AffineParameters& p : parameters) largest = std::max(largest, p.scale * 127.0f);
  const double width = static_cast<double>(largest) / kBins;
  std::vector<Histogram> parts(std::min(kParts, std::max<uint64_t>(1, elements / kStep)));
  const uint64_t per_part = (elements + parts.size() - 1) / parts.size();
  MP_RETURN_IF_ERROR(context.pool->ParallelFor(parts.size(), [&](size_t part) -> absl::Status {
    Histogram& histogram = parts[part];
    const uint64_t end = std::min(elements, (part + 1) * per_part);
    for (uint64_t i = part * per_part; i < end; ++i) {
      if (i % kStep == 0) MP_RETURN_IF_ERROR(context.cancellation->Check());
      float value;
      std::memcpy(&value, values.data() + i * sizeof(value), sizeof(value));
      const float scale = parameters[i / layout.inner % layout.channels].scale;
      const double error =
          static_cast<double>(value) - static_cast<double>(scale) * std::nearbyintf(value / scale);
      // Bin b holds magnitudes in (b width, (b + 1) width], the first one also 0.
      const double position = std::ceil(std::fabs(value) / width) - 1;
      const auto bin = static_cast<size_t>(std::clamp(position, 0.0, kBins - 1.0));
      ++histogram.count[bin];
      histogram.square[bin] += static_cast<double>(value) * value;
      histogram.rounded[bin] += error * error;
    }
    return absl::OkStatus();
  }));
  for (size_t part = 1; part < parts.size(); ++part) {
    for (size_t bin = 0; bin < kBins; ++bin) {
      parts[0].count[bin] += parts[part].count[bin];
      parts[0].square[bin] += parts[part].square[bin];
      parts[0].rounded[bin] += parts[part].rounded[bin];
    }
  }
  // Relative to plain rounding of everything, walking the threshold up bin by bin.
  const double needed = min_sparsity * static_cast<double>(elements);
  double zeros = 0, extra = 0, best_extra = 0;
  double best = needed > 0 ? largest : 0;
  bool found = needed <= 0;
  for (size_t bin = 0; bin < kBins; ++bin) {
    zeros += static_cast<double>(parts[0].count[bin]);
    extra += parts[0].square[bin] - parts[0].rounded[bin];
    if (zeros < needed) continue;
    if (!found || extra <= best_extra) {
      found = true;
      best = width * static_cast<double>(bin + 1);
      best_extra = extra;
    }
  }
  return static_cast<float>(best);
}

}  // namespace modelpress
