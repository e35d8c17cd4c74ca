// float32 to bfloat16 by literal cases and against the nearest of all bfloat16 numbers.
#include "core/quant/bfloat16.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace modelpress {
namespace {

float Widen(uint16_t half) { return std::bit_cast<float>(static_cast<uint32_t>(half) << 16); }

TEST(Bfloat16Test, LiteralCases) {
  struct Case {
    float value;
    uint16_t expected;
  };
  const Case cases[] = {
      {0.0f, 0x0000},
      {-0.0f, 0x8000},
      {1.0f, 0x3F80},
      {-2.0f, 0xC000},
      // Ties go to the even neighbour: down, up.
      {1.0f + 0x1p-8f, 0x3F80},
      {1.0f + 3 * 0x1p-8f, 0x3F82},
      // Just beside a tie.
      {1.0f + 0x1p-8f + 0x1p-23f, 0x3F81},
      {1.0f + 3 * 0x1p-8f - 0x1p-23f, 0x3F81},
      // A carry into the exponent.
      {std::nextafter(2.0f, 0.0f), 0x4000},
      // Subnormal numbers.
      {0x1p-133f, 0x0001},
      {0x1p-149f, 0x0000},
      {std::numeric_limits<float>::infinity(), 0x7F80},
      {-std::numeric_limits<float>::infinity(), 0xFF80},
      {std::numeric_limits<float>::max(), 0x7F80},
  };
  for (const Case& c : cases) EXPECT_EQ(FloatToBfloat16(c.value), c.expected) << c.value;
  // A payload in the lower half alone must not turn into infinity.
  EXPECT_TRUE(std::isnan(Widen(FloatToBfloat16(std::bit_cast<float>(0x7F800001u)))));
  EXPECT_TRUE(std::isnan(Widen(FloatToBfloat16(std::bit_cast<float>(0xFFFFFFFFu)))));
}

TEST(Bfloat16Test, NoNeighbourIsNearer) {
  constexpr uint32_t kSeed = 20;
  std::mt19937 random(kSeed);
  for (int i = 0; i < 100000; ++i) {
    const auto value = std::bit_cast<float>(static_cast<uint32_t>(random()));
    if (!std::isfinite(value)) continue;
    const uint16_t half = FloatToBfloat16(value);
    if (!std::isfinite(Widen(half)) || (half & 0x7FFF) == 0) continue;
    const double error = std::abs(static_cast<double>(Widen(half)) - value);
    for (const int step : {-1, 1}) {
      const double other = Widen(static_cast<uint16_t>(half + step));
      if (std::isfinite(other)) {
        ASSERT_LE(error, std::abs(other - value)) << value;
      }
    }
  }
}

TEST(Bfloat16Test, ConvertsAtAnyAlignmentAndCountsWhatItClamps) {
  const float floats[] = {1.5f, std::numeric_limits<float>::max(), -3.4e38f,
                          std::numeric_limits<float>::infinity(), 1.0f + 0x1p-8f};
  std::vector<std::byte> from(1 + sizeof(floats)), to(1 + 5 * 2);
  std::memcpy(from.data() + 1, floats, sizeof(floats));
  const Bfloat16Conversion result =
      ConvertToBfloat16(std::span(from).subspan(1), std::span(to).subspan(1));
  uint16_t halves[5];
  std::memcpy(halves, to.data() + 1, sizeof(halves));
  EXPECT_EQ(halves[0], 0x3FC0);
  EXPECT_EQ(halves[1], 0x7F7F);  // the largest finite number
  EXPECT_EQ(halves[2], 0xFF7F);
  EXPECT_EQ(halves[3], 0x7F80);
  EXPECT_EQ(halves[4], 0x3F80);
  EXPECT_EQ(result.clamped, 2u);
  EXPECT_GT(result.sums.noise, 0);
}

}  // namespace
}  // namespace modelpress
