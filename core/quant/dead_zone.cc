// Choosing the dead zone of a tensor from a histogram of its magnitudes; see dead_zone.h.
#include "core/quant/dead_zone.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "core/base/status.h"

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

constexpr double kBinSteps = 127.0 / kBins;

struct Weight {
  double value, steps, error;  // steps: |value| / scale; error: of plain rounding
};

// Calls visit(part, element, Weight) for every element, the parts in parallel and each in order.
template <typename Visit>
absl::Status ForEachWeight(std::span<const std::byte> values, const ChannelLayout& layout,
                           std::span<const AffineParameters> parameters, const JobContext& context,
                           const ByteProgress& progress, size_t parts, const Visit& visit) {
  const uint64_t elements = layout.elements();
  const uint64_t per_part = (elements + parts - 1) / parts;
  return context.pool->ParallelFor(parts, [&](size_t part) -> absl::Status {
    const uint64_t end = std::min(elements, (part + 1) * per_part);
    for (uint64_t begin = part * per_part; begin < end; begin += kStep) {
      MP_RETURN_IF_ERROR(context.cancellation->Check());
      const uint64_t stop = std::min(end, begin + kStep);
      for (uint64_t i = begin; i < stop; ++i) {
        float value;
        std::memcpy(&value, values.data() + i * sizeof(value), sizeof(value));
        const float scale = parameters[i / layout.inner % layout.channels].scale;
        const float code = std::clamp(std::nearbyintf(value / scale), -127.0f, 127.0f);
        visit(part, i,
              Weight{value, std::fabs(static_cast<double>(value)) / scale,
                     static_cast<double>(value) - static_cast<double>(scale) * code});
      }
      if (progress) progress((stop - begin) * sizeof(float));
    }
    return absl::OkStatus();
  });
}

size_t PartsOf(const ChannelLayout& layout) {
  return std::min(kParts, std::max<uint64_t>(1, layout.elements() / kStep));
}

}  // namespace

absl::StatusOr<double> ChooseDeadZone(std::span<const std::byte> values,
                                      const ChannelLayout& layout,
                                      std::span<const AffineParameters> parameters,
                                      const DeadZoneGoal& goal, const JobContext& context) {
  std::vector<Histogram> parts(PartsOf(layout));
  MP_RETURN_IF_ERROR(
      ForEachWeight(values, layout, parameters, context, nullptr, parts.size(),
                    [&](size_t part, uint64_t, const Weight& weight) {
                      // Bin b holds (b, b + 1] widths, the first one also 0.
                      const double position = std::ceil(weight.steps / kBinSteps) - 1;
                      const auto bin = static_cast<size_t>(std::clamp(position, 0.0, kBins - 1.0));
                      ++parts[part].count[bin];
                      parts[part].square[bin] += weight.value * weight.value;
                      parts[part].rounded[bin] += weight.error * weight.error;
                    }));
  for (size_t part = 1; part < parts.size(); ++part) {
    for (size_t bin = 0; bin < kBins; ++bin) {
      parts[0].count[bin] += parts[part].count[bin];
      parts[0].square[bin] += parts[part].square[bin];
      parts[0].rounded[bin] += parts[part].rounded[bin];
    }
  }
  double plain_error = 0;
  for (const double error : parts[0].rounded) plain_error += error;
  const double allowed = plain_error * (std::pow(10.0, goal.max_sqnr_drop_db / 10) - 1);
  const double needed = goal.min_sparsity * static_cast<double>(layout.elements());
  // Walking the threshold up: `extra` is what it costs over plain rounding.
  double zeros = 0, extra = 0;
  size_t bins = 0;
  for (; bins < kBins; ++bins) {
    extra += parts[0].square[bins] - parts[0].rounded[bins];
    if (extra > allowed && zeros >= needed) break;
    zeros += static_cast<double>(parts[0].count[bins]);
  }
  return kBinSteps * static_cast<double>(bins);
}

absl::StatusOr<double> ApplyDeadZone(std::span<const std::byte> values, const ChannelLayout& layout,
                                     std::span<const AffineParameters> parameters, double steps,
                                     std::span<std::byte> codes, const JobContext& context,
                                     const ByteProgress& progress) {
  std::vector<double> extra(PartsOf(layout));
  MP_RETURN_IF_ERROR(ForEachWeight(values, layout, parameters, context, progress, extra.size(),
                                   [&](size_t part, uint64_t i, const Weight& weight) {
                                     if (weight.steps > steps) return;
                                     codes[i] = std::byte{0};
                                     extra[part] +=
                                         weight.value * weight.value - weight.error * weight.error;
                                   }));
  return std::accumulate(extra.begin(), extra.end(), 0.0);
}

}  // namespace modelpress
