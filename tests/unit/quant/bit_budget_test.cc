// Sharing out a number of bytes: by hand, and against trying everything.
#include "core/quant/bit_budget.h"

#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace modelpress {
namespace {

using ::testing::ElementsAre;
using Weights = std::vector<std::vector<BitOption>>;

TEST(FitBudgetTest, ByHand) {
  // The second weight gains 0.6 for 10 bytes, the first 0.5 for 10 and another 0.1 for 20.
  const Weights weights = {{{10, 0.6}, {20, 0.1}, {40, 0}}, {{10, 0.7}, {20, 0.1}}};
  EXPECT_FALSE(FitBudget(weights, 19).has_value());
  EXPECT_THAT(*FitBudget(weights, 20), ElementsAre(0, 0));
  EXPECT_THAT(*FitBudget(weights, 30), ElementsAre(0, 1));
  EXPECT_THAT(*FitBudget(weights, 59), ElementsAre(1, 1));
  EXPECT_THAT(*FitBudget(weights, 60), ElementsAre(2, 1));
}

TEST(FitBudgetTest, BytesThatGainNothingAreNotSpent) {
  EXPECT_THAT(*FitBudget(Weights{{{10, 0}, {40, 0}}, {{10, 0.5}, {20, 0.6}}}, 1000),
              ElementsAre(0, 0));
}

TEST(FitBudgetTest, EqualGainsGoToTheFirst) {
  EXPECT_THAT(*FitBudget(Weights{{{10, 1}, {20, 0}}, {{10, 1}, {20, 0}}}, 30), ElementsAre(1, 0));
}

TEST(FitBudgetTest, FitsAndIsNearTheBestOfAll) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    SCOPED_TRACE(round);
    Weights weights(5);
    uint64_t least = 0, most = 0;
    double start = 0;
    for (auto& options : weights) {
      uint64_t bytes = 5 + random() % 20;
      double loss = static_cast<double>(random() % 1000);
      for (int i = 0; i < 3; ++i) {
        options.push_back({bytes, loss});
        bytes += 5 + random() % 20;
        loss *= static_cast<double>(random() % 100) / 100;
      }
      least += options[0].bytes;
      most += options.back().bytes;
      start += options[0].loss;
    }
    const uint64_t budget = least + random() % (most - least + 1);
    const auto chosen = FitBudget(weights, budget);
    ASSERT_TRUE(chosen.has_value());
    double loss = 0, best = start;
    uint64_t bytes = 0;
    for (size_t i = 0; i < weights.size(); ++i) {
      loss += weights[i][(*chosen)[i]].loss;
      bytes += weights[i][(*chosen)[i]].bytes;
    }
    EXPECT_LE(bytes, budget);
    for (int all = 0; all < 243; ++all) {
      double sum = 0;
      uint64_t used = 0;
      for (int i = 0, code = all; i < 5; ++i, code /= 3) {
        sum += weights[i][code % 3].loss;
        used += weights[i][code % 3].bytes;
      }
      if (used <= budget) best = std::min(best, sum);
    }
    // A greedy choice misses at most what the last step that did not fit would have gained.
    double largest = 0;
    for (const auto& options : weights) largest = std::max(largest, options[0].loss);
    EXPECT_LE(loss, best + largest);
  }
}

}  // namespace
}  // namespace modelpress
