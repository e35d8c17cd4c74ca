// The chosen dead zone against a search by the definition, in double precision.
#include "core/quant/dead_zone.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "gtest/gtest.h"
#include "tests/support/test_job.h"

namespace modelpress {
namespace {

using testing::TestJob;

// A matrix [rows, channels] with the channels' scales as the pass would choose them.
struct Weights {
  std::vector<float> values;
  ChannelLayout layout;
  std::vector<AffineParameters> parameters;

  std::span<const std::byte> bytes() const { return std::as_bytes(std::span(values)); }
};

template <typename Distribution>
Weights Draw(uint64_t rows, uint64_t channels, uint32_t seed, Distribution distribution) {
  std::mt19937 random(seed);
  Weights weights;
  weights.layout = {rows, channels, 1};
  weights.parameters.resize(channels);
  for (uint64_t i = 0; i < rows * channels; ++i) {
    const auto gain = static_cast<float>(1 + i % channels);
    weights.values.push_back(gain * static_cast<float>(distribution(random)));
    float& scale = weights.parameters[i % channels].scale;
    scale = std::max(i < channels ? 0.0f : scale, std::fabs(weights.values.back()) / 127);
  }
  return weights;
}

// Squared error and zeros of codes with the threshold t in steps (negative: plain rounding), by
// definition.
struct Outcome {
  double error = 0;
  uint64_t zeros = 0;
};
Outcome Quantize(const Weights& weights, double t) {
  Outcome outcome;
  for (uint64_t i = 0; i < weights.values.size(); ++i) {
    const double value = weights.values[i];
    const double scale = weights.parameters[i % weights.layout.channels].scale;
    const double code = std::fabs(value) <= t * scale ? 0 : std::nearbyint(value / scale);
    outcome.zeros += code == 0;
    outcome.error += (value - scale * code) * (value - scale * code);
  }
  return outcome;
}

double Choose(const Weights& weights, const DeadZoneGoal& goal, size_t threads = 2) {
  TestJob job(threads);
  const auto chosen =
      ChooseDeadZone(weights.bytes(), weights.layout, weights.parameters, goal, job.context());
  EXPECT_TRUE(chosen.ok()) << chosen.status();
  return chosen.value_or(-1);
}

constexpr double kBinWidth = 127.0 / 2048;

TEST(DeadZoneTest, WidestThatTheErrorAllowsOrSparsityNeeds) {
  const std::vector<std::pair<std::string, Weights>> cases = {
      {"normal", Draw(20000, 1, 1, std::normal_distribution<double>(0, 0.1))},
      {"normal, 8 channels", Draw(2500, 8, 2, std::normal_distribution<double>(0, 2))},
      {"heavy tails", Draw(5000, 4, 3, std::cauchy_distribution<double>(0, 1))},
      {"uniform", Draw(9000, 3, 4, std::uniform_real_distribution<double>(-1, 1))},
      {"several parts", Draw(300000, 2, 5, std::normal_distribution<double>(0, 1))},
  };
  for (const auto& [name, weights] : cases) {
    SCOPED_TRACE(name);
    const double width = kBinWidth;
    const Outcome plain = Quantize(weights, -1);
    for (const DeadZoneGoal& goal : {DeadZoneGoal{3, 0}, DeadZoneGoal{0.5, 0}, DeadZoneGoal{10, 0},
                                     DeadZoneGoal{0, 0.3}, DeadZoneGoal{3, 0.02}}) {
      SCOPED_TRACE(::testing::Message() << goal.max_sqnr_drop_db << " dB, " << goal.min_sparsity);
      const double allowed = plain.error * std::pow(10, goal.max_sqnr_drop_db / 10);
      const double needed = goal.min_sparsity * static_cast<double>(weights.values.size());
      const auto wide_enough = [&](double t) {
        return static_cast<double>(Quantize(weights, t).zeros) >= needed;
      };
      const double chosen = Choose(weights, goal);
      // On the border of a bin; one bin less would be too sparse or needless, one more too dear.
      EXPECT_NEAR(chosen / width, std::round(chosen / width), 1e-3);
      const double below = chosen - width * 0.9999, above = chosen + width * 1.001;
      EXPECT_TRUE(wide_enough(chosen + width / 1000));
      EXPECT_GT(Quantize(weights, above).error, allowed);
      EXPECT_TRUE(Quantize(weights, chosen * (1 - 1e-6)).error <= allowed * (1 + 1e-6) ||
                  !wide_enough(below));
    }
  }
}

TEST(DeadZoneTest, NoDropIsPlainRounding) {
  const Weights weights = Draw(20000, 1, 6, std::normal_distribution<double>(0, 1));
  const double chosen = Choose(weights, {0, 0});
  EXPECT_LE(chosen, 0.5);
  EXPECT_GT(chosen, 0.5 - 2 * kBinWidth);
  EXPECT_EQ(Quantize(weights, chosen).zeros, Quantize(weights, -1).zeros);
}

// The formula of the header: 3 dB buy t = (1 / (8 p))^(1/3) steps where the density is flat.
TEST(DeadZoneTest, DefaultHasFourTimesTheZeros) {
  const Weights weights = Draw(200000, 1, 7, std::normal_distribution<double>(0, 1));
  const double scale = weights.parameters[0].scale;
  const double chosen = Choose(weights, {});
  const double density = scale / std::sqrt(2 * M_PI);
  EXPECT_NEAR(chosen, std::cbrt(1 / (8 * density)), 0.2);
  const Outcome plain = Quantize(weights, -1), wide = Quantize(weights, chosen);
  EXPECT_GE(wide.zeros, 4 * plain.zeros);
  EXPECT_LE(wide.error, 2 * plain.error);
}

TEST(DeadZoneTest, ThreadsChangeNothing) {
  const Weights weights = Draw(700000, 1, 8, std::normal_distribution<double>(0, 1));
  EXPECT_EQ(Choose(weights, {}, 1), Choose(weights, {}, 4));
  const std::vector<std::byte> ones(weights.values.size(), std::byte{1});
  std::vector<std::vector<std::byte>> codes(2, ones);
  std::vector<double> extra;
  for (const size_t i : {0, 1}) {
    TestJob job(1 + 3 * i);
    const auto applied = ApplyDeadZone(weights.bytes(), weights.layout, weights.parameters, 2.5,
                                       codes[i], job.context(), nullptr);
    ASSERT_TRUE(applied.ok());
    extra.push_back(*applied);
  }
  EXPECT_EQ(extra[0], extra[1]);
  EXPECT_TRUE(codes[0] == codes[1]);
  const Outcome plain = Quantize(weights, -1), wide = Quantize(weights, 2.5);
  EXPECT_NEAR(extra[0], wide.error - plain.error, 1e-6 * wide.error);
}

// Every channel has its share: one of weights a thousand times smaller is not emptied.
TEST(DeadZoneTest, SmallChannelsKeepTheirWeights) {
  Weights weights = Draw(4000, 2, 9, std::normal_distribution<double>(0, 1));
  for (size_t i = 0; i < weights.values.size(); i += 2) weights.values[i] *= 1e-3f;
  weights.parameters[0].scale *= 1e-3f;
  std::vector<std::byte> codes(weights.values.size(), std::byte{1});
  TestJob job;
  ASSERT_TRUE(ApplyDeadZone(weights.bytes(), weights.layout, weights.parameters,
                            Choose(weights, {}), codes, job.context(), nullptr)
                  .ok());
  size_t kept = 0;
  for (size_t i = 0; i < codes.size(); i += 2) kept += codes[i] != std::byte{0};
  EXPECT_GT(kept, 3600u);
}

TEST(DeadZoneTest, ExactOnTheGridAndAllZeroCostNothing) {
  Weights exact{{1, -2, 3, 127, 0, -5}, WholeTensor(6), {{1, 0}}};
  EXPECT_EQ(Quantize(exact, Choose(exact, {})).error, 0);
  Weights zero{std::vector<float>(6), WholeTensor(6), {{1, 0}}};
  EXPECT_GE(Choose(zero, {}), 0);
}

}  // namespace
}  // namespace modelpress
