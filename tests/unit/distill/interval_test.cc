// Confidence intervals: literal cases, and that they cover the truth as often as they promise.
#include "core/distill/interval.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace modelpress {
namespace {

constexpr double kZ = 1.6448536269514722;

Tally Plain(int ones, int zeros) {
  Tally tally;
  for (int i = 0; i < ones; ++i) tally.Add(1, 1);
  for (int i = 0; i < zeros; ++i) tally.Add(0, 1);
  return tally;
}

TEST(IntervalTest, QuantilesOfTheNormalDistribution) {
  EXPECT_NEAR(OneSidedZ(0.95), kZ, 1e-12);
  EXPECT_NEAR(OneSidedZ(0.975), 1.959963984540054, 1e-12);
  EXPECT_NEAR(OneSidedZ(0.999), 3.090232306167813, 1e-10);
  EXPECT_EQ(OneSidedZ(0.5), 0);
}

TEST(IntervalTest, WilsonOfLiteralCounts) {
  // 90 of 100 at z = 1.96: Wilson 1927, as in every table.
  const Interval interval = WilsonInterval(0.9, 100, 1.959963984540054);
  EXPECT_NEAR(interval.low, 0.8256343384950865, 1e-9);
  EXPECT_NEAR(interval.high, 0.9447708629393249, 1e-9);
  // All of n: n / (n + z^2).
  EXPECT_NEAR(WilsonInterval(1, 20, kZ).low, 20 / (20 + kZ * kZ), 1e-12);
  EXPECT_EQ(WilsonInterval(1, 20, kZ).high, 1);
  EXPECT_NEAR(WilsonInterval(0, 20, kZ).high, kZ * kZ / (20 + kZ * kZ), 1e-12);
}

TEST(IntervalTest, WithoutUnlabelledSamplesItIsWilsons) {
  for (const auto& [right, wrong] : {std::pair{90, 10}, {10, 0}, {0, 10}, {1, 1}, {199, 1}}) {
    const Tally tally = Plain(right, wrong);
    const Interval found = PredictionPoweredShare(tally, tally, Tally(), kZ);
    const double n = right + wrong;
    const Interval wilson = WilsonInterval(right / n, n, kZ);
    EXPECT_NEAR(found.value, wilson.value, 1e-12);
    EXPECT_NEAR(found.low, wilson.low, 1e-9) << right << " " << wrong;
    EXPECT_NEAR(found.high, wilson.high, 1e-9) << right << " " << wrong;
  }
  EXPECT_EQ(PredictionPoweredShare(Tally(), Tally(), Plain(5, 5), kZ).high, 1);
}

// 200 labelled samples, of which 190 are right exactly where they agree; 1000 unlabelled of which 970 agree.
TEST(IntervalTest, UnlabelledSamplesMoveAndNarrowIt) {
  const Tally labelled = Plain(190, 10), unlabelled = Plain(970, 30);
  const Interval with = PredictionPoweredShare(labelled, labelled, unlabelled, kZ);
  const Interval alone = PredictionPoweredShare(labelled, labelled, Tally(), kZ);
  EXPECT_GT(with.value, 0.96);
  EXPECT_LT(with.value, 0.97);
  EXPECT_LT(with.high - with.low, 0.75 * (alone.high - alone.low));
  // Agreement that says nothing of being right changes nothing.
  Tally right, agree;
  for (int i = 0; i < 400; ++i) {
    right.Add(i % 2, 1);
    agree.Add(i / 2 % 2, 1);
  }
  EXPECT_NEAR(PredictionPoweredShare(right, agree, Plain(900, 100), kZ).value, 0.5, 0.01);
}

TEST(IntervalTest, FewSamplesNeverLookCertain) {
  for (const int n : {1, 2, 5, 20, 200}) {
    for (const int unlabelled : {0, 10, 5000}) {
      const Interval share =
          PredictionPoweredShare(Plain(n, 0), Plain(n, 0), Plain(unlabelled, 0), kZ);
      // What n right of n allow at 95 % (Clopper and Pearson): 0.05^(1/n); half of its distance at least.
      const double exact = std::pow(0.05, 1.0 / n);
      EXPECT_LT(share.low, 1 - 0.5 * (1 - exact)) << n << " " << unlabelled;
      const Interval difference =
          PredictionPoweredDifference(Plain(0, n), Plain(n, 0), Plain(unlabelled, 0), kZ);
      EXPECT_LT(difference.low, 0);
      EXPECT_GT(difference.high, 0);
    }
  }
  Tally constant;
  for (int i = 0; i < 10; ++i) constant.Add(3, 2);
  const Interval mean = MeanInterval(constant, kZ);
  EXPECT_EQ(mean.value, 1.5);
  EXPECT_LT(mean.low, 1.5);
  EXPECT_GT(mean.high, 1.5);
  EXPECT_EQ(MeanInterval(Plain(1, 1), kZ).low, -INFINITY);
  const auto same = [](size_t) { return 1.0; };
  EXPECT_LT(JackknifeInterval(1, 30, same, true, kZ).low, 0.95);
  EXPECT_LT(JackknifeInterval(0, 30, same, false, kZ).low, 0);
}

// Of samples drawn from a known truth the promised share of low ends lies below it, and of high ends above.
TEST(IntervalTest, CoversTheTruth) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  const auto chance = [&](double p) { return std::bernoulli_distribution(p)(random); };
  struct Truth {
    double teacher, agree_where_right, agree_where_wrong;
  };
  constexpr int kRounds = 1500;
  for (const Truth& truth : {Truth{0.985, 0.97, 0.4}, {0.9, 0.9, 0.5}, {0.8, 0.95, 0.8}}) {
    // A student that disagrees with a wrong teacher is right half of the time.
    const double accuracy = truth.teacher * truth.agree_where_right +
                            (1 - truth.teacher) * (1 - truth.agree_where_wrong) / 2;
    for (const auto& [n, unlabelled] : {std::pair{60, 0}, {200, 800}, {500, 1000}}) {
      int low = 0, high = 0, drop_low = 0, drop_high = 0;
      double width = 0, alone_width = 0;
      for (int round = 0; round < kRounds; ++round) {
        Tally right, agree, agree_unlabelled, difference;
        for (int i = 0; i < n + unlabelled; ++i) {
          const bool teacher = chance(truth.teacher);
          const bool agrees = chance(teacher ? truth.agree_where_right : truth.agree_where_wrong);
          const bool student = teacher ? agrees : !agrees && chance(0.5);
          if (i >= n) {
            agree_unlabelled.Add(agrees, 1);
            continue;
          }
          right.Add(student, 1);
          agree.Add(agrees, 1);
          difference.Add(student - teacher, 1);
        }
        const Interval share = PredictionPoweredShare(right, agree, agree_unlabelled, kZ);
        low += share.low <= accuracy;
        high += share.high >= accuracy;
        width += share.high - share.low;
        const Interval alone = WilsonInterval(right.Share(), n, kZ);
        alone_width += alone.high - alone.low;
        const Interval drop = PredictionPoweredDifference(difference, agree, agree_unlabelled, kZ);
        drop_low += drop.low <= accuracy - truth.teacher;
        drop_high += drop.high >= accuracy - truth.teacher;
      }
      SCOPED_TRACE(testing::Message() << truth.teacher << ", " << n << " labelled, " << unlabelled);
      // Five standard errors of 1500 rounds below 95 %, and what a discrete count costs: with 60 samples of which hardly
      // one is wrong much at the high end, which nobody relies on.
      EXPECT_GT(low, 0.915 * kRounds);
      EXPECT_GT(high, (n < 100 ? 0.85 : 0.90) * kRounds);
      EXPECT_GT(drop_low, 0.915 * kRounds);
      EXPECT_GT(drop_high, 0.90 * kRounds);
      if (unlabelled > 0) {
        EXPECT_LT(width, 0.97 * alone_width);
      }
    }
  }
}

// Unlabelled samples are mostly easy ones, where student and teacher agree; the labelled ones are not.
TEST(IntervalTest, KindsMakeUpForEasierUnlabelledSamples) {
  const uint32_t seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  const auto chance = [&](double p) { return std::bernoulli_distribution(p)(random); };
  constexpr int kRounds = 1500;
  // A labelled sample is hard (kind 1) one time in five, an unlabelled one one time in twenty.
  constexpr double kHard = 0.2, kHardUnlabelled = 0.05, kAgreeEasy = 0.99, kAgreeHard = 0.8;
  const double accuracy = (1 - kHard) * kAgreeEasy + kHard * kAgreeHard;
  int low = 0, drop_low = 0, blind_low = 0;
  double mean = 0;
  for (int round = 0; round < kRounds; ++round) {
    Tally right, agree, agree_unlabelled, difference;
    for (int i = 0; i < 1400; ++i) {
      const bool labelled = i < 400;
      const bool hard = chance(labelled ? kHard : kHardUnlabelled);
      const bool agrees = chance(hard ? kAgreeHard : kAgreeEasy);
      (labelled ? agree : agree_unlabelled).Add(agrees, 1, hard);
      if (!labelled) continue;
      right.Add(agrees, 1, hard);
      difference.Add(agrees - 1, 1, hard);
    }
    const Interval share = PredictionPoweredShare(right, agree, agree_unlabelled, kZ);
    low += share.low <= accuracy;
    mean += share.value / kRounds;
    drop_low +=
        PredictionPoweredDifference(difference, agree, agree_unlabelled, kZ).low <= accuracy - 1;
    Tally alike = agree_unlabelled, one = agree;
    std::ranges::fill(alike.kind, 0);
    std::ranges::fill(one.kind, 0);
    blind_low += PredictionPoweredShare(right, one, alike, kZ).low <= accuracy;
  }
  EXPECT_NEAR(mean, accuracy, 0.003);
  EXPECT_GT(low, 0.915 * kRounds);
  // Not Wilson's but a normal interval, which falls a little short.
  EXPECT_GT(drop_low, 0.90 * kRounds);
  // What the kinds are for.
  EXPECT_LT(blind_low, 0.9 * kRounds);
}

// Positions of a sample that are all alike count as one.
TEST(IntervalTest, PositionsOfASampleAreNotIndependent) {
  std::mt19937 random(5);
  Tally alike, single;
  for (int i = 0; i < 300; ++i) {
    const int right = std::bernoulli_distribution(0.8)(random);
    alike.Add(right * 50, 50);
    single.Add(right, 1);
  }
  const Interval many = PredictionPoweredShare(alike, alike, Tally(), kZ);
  const Interval one = PredictionPoweredShare(single, single, Tally(), kZ);
  EXPECT_NEAR(many.high - many.low, one.high - one.low, 0.1 * (one.high - one.low));
}

}  // namespace
}  // namespace modelpress
