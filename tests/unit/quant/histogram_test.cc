// Histograms and the ranges chosen from them, against plain recomputation.
#include "core/quant/histogram.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "core/quant/choose_range.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace modelpress {
namespace {

Histogram Of(const std::vector<float>& values) {
  Histogram histogram;
  histogram.Add(values);
  return histogram;
}

// Values of very different magnitude, both signs, zeros, borders of bins.
std::vector<float> Mixed(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::uniform_int_distribution<int> kind(0, 9), exponent(-30, 12);
  std::vector<float> values(count);
  for (float& value : values) {
    const int k = kind(random);
    value = k == 0   ? 0.0f
            : k == 1 ? std::ldexp(random() % 2 ? 1.0f : -1.0f, exponent(random))
                     : std::ldexp(normal(random), exponent(random));
  }
  return values;
}

TEST(HistogramTest, EveryValueIsInItsBin) {
  for (uint32_t seed = 1; seed <= 5; ++seed) {
    for (const size_t count : {17, 5000, 70000}) {
      const std::vector<float> values = Mixed(count, seed);
      const Histogram histogram = Of(values);
      std::vector<uint64_t> expected(2 * Histogram::kSideBins);
      for (const float value : values) {
        const double bin = std::floor(value / histogram.width());
        ++expected[static_cast<size_t>(bin + Histogram::kSideBins)];
      }
      for (int i = -Histogram::kSideBins; i < Histogram::kSideBins; ++i) {
        ASSERT_EQ(histogram.count(i), expected[i + Histogram::kSideBins])
            << "seed " << seed << " bin " << i;
      }
      EXPECT_EQ(histogram.total(), count);
      EXPECT_EQ(histogram.zeros(), static_cast<uint64_t>(std::ranges::count(values, 0.0f)));
      const float largest = std::max(-histogram.min(), histogram.max());
      EXPECT_GE(largest, histogram.width() * Histogram::kSideBins / 2);
    }
  }
}

TEST(HistogramTest, OrderAndPartsChangeNothing) {
  for (uint32_t seed = 1; seed <= 5; ++seed) {
    std::vector<float> values = Mixed(60000, seed);
    const Histogram whole = Of(values);
    std::ranges::sort(values, {}, [](float x) { return std::abs(x); });
    Histogram rising, falling, merged;
    for (size_t i = 0; i < values.size(); i += 100) {
      const std::span<const float> part = std::span(values).subspan(i, 100);
      rising.Add(part);
      Histogram other;
      other.Add(part);
      merged.Merge(other);
    }
    for (size_t i = values.size(); i > 0; i -= 100) {
      falling.Add(std::span(values).subspan(i - 100, 100));
    }
    EXPECT_TRUE(rising == whole) << seed;
    EXPECT_TRUE(falling == whole) << seed;
    EXPECT_TRUE(merged == whole) << seed;
  }
}

TEST(HistogramTest, ExtremesOfFloat) {
  const Histogram histogram = Of({3.4e38f, -3.4e38f, 1e-45f, -1e-45f, 0.0f});
  EXPECT_EQ(histogram.total(), 5u);
  EXPECT_EQ(histogram.count(0), 2u);
  EXPECT_EQ(histogram.count(-1), 1u);
  EXPECT_EQ(histogram.zeros(), 1u);
  EXPECT_EQ(Of({}).total(), 0u);
}

std::vector<float> Normal(size_t count, float mean) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal(mean);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

TEST(ChooseRangeTest, MinMaxHoldsEverythingAndZero) {
  const ValueRange range = ChooseRange(Of({1, 2, 5}), {});
  EXPECT_EQ(range.min, 0);
  EXPECT_EQ(range.max, 5);
}

TEST(HistogramTest, ClampedIsAsIfTheValuesHadBeen) {
  const std::vector<float> values = Normal(10000, 2.0f);
  std::vector<float> clamped = values;
  for (float& value : clamped) value = std::clamp(value, -1.5f, 3.0f);
  const Histogram result = Of(values).Clamped(-1.5f, 3.0f);
  EXPECT_EQ(result.min(), -1.5f);
  EXPECT_EQ(result.max(), 3.0f);
  EXPECT_EQ(result.total(), values.size());
  Histogram expected;
  // So that its bins are as wide.
  const float widest = std::max(-Of(values).min(), Of(values).max());
  clamped.push_back(widest);
  expected.Add(clamped);
  for (int i = -Histogram::kSideBins; i < Histogram::kSideBins - 1; ++i) {
    const bool is_widest = i == static_cast<int>(std::floor(widest / expected.width()));
    EXPECT_EQ(result.count(i), expected.count(i) - (is_widest ? 1 : 0)) << i;
  }
}

TEST(ChooseRangeTest, PercentileCutsEachSideByHalf) {
  const std::vector<float> values = Normal(100000, 0.5f);
  const RangeRule rule{.method = RangeMethod::kPercentile, .percentile = 99.9};
  const Histogram histogram = Of(values);
  const double bin = histogram.width();
  const auto below = [&](double edge) {
    return std::ranges::count_if(values, [&](float x) { return x < edge; });
  };
  const auto above = [&](double edge) {
    return std::ranges::count_if(values, [&](float x) { return x > edge; });
  };
  const ValueRange range = ChooseRange(histogram, rule);
  EXPECT_LE(below(range.min), 50);
  EXPECT_GE(below(range.min + bin), 50);
  EXPECT_LE(above(range.max), 50);
  EXPECT_GE(above(range.max - bin), 50);
  RangeRule symmetric = rule;
  symmetric.symmetric = true;
  const double edge = ChooseRange(histogram, symmetric).max;
  EXPECT_LE(below(-edge) + above(edge), 100);
  EXPECT_GE(below(-edge + bin) + above(edge - bin), 100);
  RangeRule all = rule;
  all.percentile = 100;
  EXPECT_EQ(ChooseRange(histogram, all).max, histogram.max());
}

// Squared error of rounding `values` to the grid of `steps` steps over the range.
double GridError(const std::vector<float>& values, const ValueRange& range, int steps) {
  const double step = (static_cast<double>(range.max) - range.min) / steps;
  double error = 0;
  for (const float value : values) {
    if (step == 0) {
      error += static_cast<double>(value) * value;
      continue;
    }
    const double clipped = std::clamp<double>(value, range.min, range.max);
    const double rounded = std::nearbyint(clipped / step) * step;
    error += (value - rounded) * (value - rounded);
  }
  return error;
}

TEST(ChooseRangeTest, LeastSquaresIsNearTheBestGrid) {
  std::vector<float> values = Normal(20000, 0);
  for (size_t i = 0; i < 20; ++i) values.push_back(12 + static_cast<float>(i % 3));
  const Histogram histogram = Of(values);
  for (const int steps : {255, 15}) {
    const ValueRange range = ChooseRange(histogram, {.method = RangeMethod::kMse, .steps = steps});
    double best = std::numeric_limits<double>::infinity();
    for (int i = 20; i > 0; --i) {
      for (int j = 20; j > 0; --j) {
        const ValueRange tried = {histogram.min() * i / 20, histogram.max() * j / 20, true};
        best = std::min(best, GridError(values, tried, steps));
      }
    }
    EXPECT_LE(GridError(values, range, steps), 1.05 * best) << steps;
    EXPECT_LE(GridError(values, range, steps),
              GridError(values, ChooseRange(histogram, {}), steps));
    EXPECT_NEAR(
        ExpectedSqnrDb(histogram, range, steps),
        10 * std::log10(GridError(values, {0, 0, true}, 1) / GridError(values, range, steps)), 0.5);
  }
}

TEST(ChooseRangeTest, EntropyDropsAFarOutlierAndKeepsAUniform) {
  std::vector<float> values = Normal(200000, 0);
  values.push_back(100);
  const ValueRange cut = ChooseRange(Of(values), {.method = RangeMethod::kEntropy});
  EXPECT_LT(cut.max, 20);
  EXPECT_GT(cut.max, 2.5);
  std::vector<float> uniform(100000);
  for (size_t i = 0; i < uniform.size(); ++i) uniform[i] = static_cast<float>(i) / 1000 - 50;
  EXPECT_GT(ChooseRange(Of(uniform), {.method = RangeMethod::kEntropy}).max, 45);
}

TEST(ChooseRangeTest, EntropyDoesNotCareHowManyZerosThereAre) {
  std::vector<float> values = Normal(100000, 0);
  for (float& value : values) value = std::abs(value);
  const RangeRule rule = {.method = RangeMethod::kEntropy};
  const float without = ChooseRange(Of(values), rule).max;
  EXPECT_GT(without, 2.5);
  values.resize(400000, 0.0f);  // as behind a Relu
  EXPECT_EQ(ChooseRange(Of(values), rule).max, without);
}

TEST(ChooseRangeTest, ClippedShareCountsWhatIsOutside) {
  const std::vector<float> values = Normal(100000, 0);
  const Histogram histogram = Of(values);
  const auto outside = std::ranges::count_if(values, [](float x) { return x < -1 || x > 2; });
  EXPECT_NEAR(ClippedShare(histogram, {-1, 2, true}), static_cast<double>(outside) / 100000, 2e-3);
  EXPECT_EQ(ClippedShare(histogram, {histogram.min(), histogram.max(), true}), 0);
}

TEST(ChooseRangeTest, NothingButZerosAndEmptyAreHarmless) {
  for (const RangeMethod method :
       {RangeMethod::kMinMax, RangeMethod::kPercentile, RangeMethod::kEntropy, RangeMethod::kMse}) {
    for (const bool symmetric : {false, true}) {
      for (const Histogram& histogram : {Of({}), Of({0, 0, 0}), Of({2}), Of({-1e-30f})}) {
        const ValueRange range = ChooseRange(histogram, {.method = method, .symmetric = symmetric});
        EXPECT_LE(range.min, 0);
        EXPECT_GE(range.max, 0);
        EXPECT_GE(range.min, histogram.min());
        EXPECT_LE(range.max, histogram.max());
      }
    }
  }
}

}  // namespace
}  // namespace modelpress
