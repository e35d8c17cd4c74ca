// float32 to float16 by their bits (IEEE 754-2019, section 3.4): 1 sign, 8 or 5 exponent, 23 or 10
// fraction bits.
#include "core/quant/float16.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace modelpress {
namespace {

constexpr uint32_t kSign = 0x80000000;
constexpr uint32_t kInfinity = 0x7f800000;
// The exponents' biases differ by 127 - 15.
constexpr uint32_t kBiasDifference = 112u << 23;

}  // namespace

uint16_t FloatToHalf(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>((bits & kSign) >> 16);
  const uint32_t magnitude = bits & ~kSign;
  if (magnitude > kInfinity) return sign | 0x7e00;
  // From 65520 = 65504 + half a step on everything rounds to infinity.
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude < (113u << 23)) {
    // Subnormal result: units of 2^-24, rounded by the addition to a number whose last bit is worth
    // that.
    const float sum = std::bit_cast<float>(magnitude) + 0.5f;
    return sign |
           static_cast<uint16_t>(std::bit_cast<uint32_t>(sum) - std::bit_cast<uint32_t>(0.5f));
  }
  // Half of the last place that stays, a hair less if that place is even: ties go to even.
  const uint32_t rounded = magnitude - kBiasDifference + 0xfff + ((magnitude >> 13) & 1);
  return sign | static_cast<uint16_t>(rounded >> 13);
}

float HalfToFloat(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t exponent = (half >> 10) & 0x1f;
  const uint32_t fraction = half & 0x3ff;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(fraction) * kHalfMin;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | sign);
  }
  if (exponent == 31) return std::bit_cast<float>(sign | kInfinity | (fraction << 13));
  return std::bit_cast<float>(sign | (((exponent << 23) + kBiasDifference) + (fraction << 13)));
}

HalfConversion ConvertToHalf(std::span<const std::byte> floats, std::span<std::byte> halves) {
  HalfConversion result;
  const size_t count = floats.size() / sizeof(float);
  for (size_t i = 0; i < count; ++i) {
    float value;
    std::memcpy(&value, floats.data() + i * sizeof(float), sizeof(float));
    const float magnitude = std::fabs(value);
    float kept = value;
    if (magnitude > kHalfMax && std::isfinite(value)) {
      kept = std::copysign(kHalfMax, value);
      ++result.clamped_large;
    } else if (magnitude > 0 && magnitude < kHalfMin) {
      kept = std::copysign(kHalfMin, value);
      ++result.clamped_small;
    }
    const uint16_t half = FloatToHalf(kept);
    std::memcpy(halves.data() + i * sizeof(half), &half, sizeof(half));
    if (std::isfinite(value)) {
      const double error = static_cast<double>(value) - HalfToFloat(half);
      result.sums.signal += static_cast<double>(value) * value;
      result.sums.noise += error * error;
    }
  }
  return result;
}

}  // namespace modelpress
