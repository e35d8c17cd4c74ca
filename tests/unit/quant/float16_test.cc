// float32 to float16 and back.
#include "core/quant/float16.h"

#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"

namespace modelpress {
namespace {

TEST(Float16Test, Literals) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const struct {
    float value;
    uint16_t half;
  } kCases[] = {
      {0.0f, 0x0000},
      {-0.0f, 0x8000},
      {1.0f, 0x3c00},
      {-2.0f, 0xc000},
      {65504.0f, 0x7bff},
      {65519.0f, 0x7bff},
      {65520.0f, 0x7c00},
      {kInfinity, 0x7c00},
      {kHalfMin, 0x0001},
      {kHalfMin / 2, 0x0000},
      {kHalfMin * 1.5f, 0x0002},
      {6.103515625e-5f, 0x0400},     // smallest normal
      {1.0f + 1.0f / 2048, 0x3c00},  // halfway: to even, down
      {1.0f + 3.0f / 2048, 0x3c02},  // halfway: to even, up
      {0.333251953125f, 0x3555},
  };
  for (const auto& c : kCases) EXPECT_EQ(FloatToHalf(c.value), c.half) << c.value;
  EXPECT_TRUE(std::isnan(HalfToFloat(FloatToHalf(std::nanf("")))));
}

TEST(Float16Test, EveryHalfComesBack) {
  for (uint32_t half = 0; half < 0x10000; ++half) {
    const float value = HalfToFloat(static_cast<uint16_t>(half));
    if (std::isnan(value)) continue;
    EXPECT_EQ(FloatToHalf(value), half);
    // The value by its definition: sign, 2^(exponent - 15), fraction / 2^10.
    const int exponent = static_cast<int>(half >> 10 & 31);
    const double fraction = half & 1023;
    if (exponent == 31) continue;
    const double magnitude =
        exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
    EXPECT_EQ(value, half & 0x8000 ? -magnitude : magnitude);
  }
}

TEST(Float16Test, RoundsToTheNearest) {
  // Between each two neighbours: a quarter of the way goes down, three quarters go up.
  for (uint16_t half = 0; half < 0x7bff; ++half) {
    const float low = HalfToFloat(half), high = HalfToFloat(half + 1);
    EXPECT_EQ(FloatToHalf(low + 0.25f * (high - low)), half);
    EXPECT_EQ(FloatToHalf(low + 0.75f * (high - low)), half + 1);
    EXPECT_EQ(FloatToHalf(low + 0.5f * (high - low)), half % 2 == 0 ? half : half + 1);
  }
}

TEST(Float16Test, ClampsAndCounts) {
  const std::vector<float> values = {
      1e9f, -1e9f, 1e-12f, -1e-12f, 0, 2.5f, std::numeric_limits<float>::infinity()};
  std::vector<uint16_t> halves(values.size());
  const HalfConversion result =
      ConvertToHalf(std::as_bytes(std::span(values)), std::as_writable_bytes(std::span(halves)));
  EXPECT_EQ(result.clamped_large, 2u);
  EXPECT_EQ(result.clamped_small, 2u);
  EXPECT_EQ(halves, (std::vector<uint16_t>{0x7bff, 0xfbff, 0x0001, 0x8001, 0, 0x4100, 0x7c00}));
  EXPECT_TRUE(std::isfinite(result.sums.noise));
}

}  // namespace
}  // namespace modelpress
