// Scale and zero point from a range of values.
#include "core/quant/affine.h"

#include <algorithm>
#include <cfloat>
#include <cmath>

namespace modelpress {

CodeLimits LimitsOf(const AffineRule& rule) {
  if (rule.type == CodeType::kUint8) return {0, rule.reduced ? 127 : 255};
  if (rule.reduced) return {-64, 64};
  return {rule.symmetric ? -127 : -128, 127};
}

void ValueRange::Merge(const ValueRange& other) {
  min = std::min(min, other.min);
  max = std::max(max, other.max);
  finite = finite && other.finite;
}

AffineParameters ChooseParameters(const ValueRange& range, const AffineRule& rule) {
  return ChooseParameters(range, LimitsOf(rule), rule.symmetric);
}

AffineParameters ChooseParameters(const ValueRange& range, const CodeLimits& limits,
                                  bool symmetric) {
  const double levels = limits.highest - limits.lowest;
  double low = std::min(range.min, 0.0f);
  double high = std::max(range.max, 0.0f);
  if (symmetric) {
    high = std::max(-low, high);
    low = -high;
  }
  const double scale = (high - low) / levels;
  if (scale < FLT_MIN) return {1.0f, 0};
  // nearbyint rounds half to even in the default rounding mode, which nothing here changes.
  const double zero_point = symmetric ? std::nearbyint((limits.lowest + limits.highest) / 2.0)
                                      : std::nearbyint(limits.lowest - low / scale);
  return {static_cast<float>(scale), static_cast<int32_t>(zero_point)};
}

}  // namespace modelpress
