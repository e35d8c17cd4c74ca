// Finding what costs most by measuring groups.
#include "core/measure/noise_shares.h"

#include <algorithm>
#include <numeric>

#include "core/base/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace modelpress {
namespace {

using ::testing::DoubleEq;
using ::testing::ElementsAre;

// Noise that adds up exactly, and how often it was asked for.
struct Additive {
  std::vector<double> of_part;
  int calls = 0;
  NoiseOf function() {
    return [this](const std::vector<size_t>& parts) -> absl::StatusOr<double> {
      ++calls;
      double sum = 0;
      for (const size_t part : parts) sum += of_part[part];
      return sum;
    };
  }
};

TEST(NoiseSharesTest, FewPartsAreEachMeasuredAlone) {
  Additive noise{{3, 0, 5}};
  EXPECT_THAT(NoiseShares({1, 1, 1}, 3, noise.function()).value(), ElementsAre(3, 0, 5));
  EXPECT_EQ(noise.calls, 3);
}

TEST(NoiseSharesTest, TheWorstOfManyAreFoundWithFewMeasurements) {
  Additive noise{std::vector<double>(64, 0.001)};
  noise.of_part[5] = 9;
  noise.of_part[40] = 7;
  const auto shares = NoiseShares(std::vector<double>(64, 1), 24, noise.function()).value();
  EXPECT_LE(noise.calls, 24);
  std::vector<size_t> order(64);
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, std::greater(), [&](size_t i) { return shares[i]; });
  EXPECT_EQ(order[0], 5u);
  EXPECT_EQ(order[1], 40u);
  EXPECT_THAT(shares[5], DoubleEq(9));
  EXPECT_THAT(shares[40], DoubleEq(7));
  EXPECT_NEAR(std::accumulate(shares.begin(), shares.end(), 0.0), 16.062, 1e-9);
}

TEST(NoiseSharesTest, WhatStaysTogetherIsSharedByOwnErrors) {
  Additive noise{{8, 1, 1, 2}};
  // Measured: all four, then the halves.
  EXPECT_THAT(NoiseShares({3, 1, 0, 0}, 3, noise.function()).value(),
              ElementsAre(6.75, 2.25, 1.5, 1.5));
  EXPECT_EQ(noise.calls, 3);
}

TEST(NoiseSharesTest, NoPartsNeedNoMeasurement) {
  Additive noise;
  EXPECT_TRUE(NoiseShares({}, 5, noise.function()).value().empty());
  EXPECT_EQ(noise.calls, 0);
}

TEST(NoiseSharesTest, AFailureEndsIt) {
  const NoiseOf fails = [](const std::vector<size_t>&) -> absl::StatusOr<double> {
    return Error(ERROR_REASON_INTERNAL_BUG, "stop");
  };
  EXPECT_FALSE(NoiseShares({1, 1}, 9, fails).ok());
}

}  // namespace
}  // namespace modelpress
