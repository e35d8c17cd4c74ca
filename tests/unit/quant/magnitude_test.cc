// The cut by magnitude against sorting.
#include "core/quant/magnitude.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "core/quant/dead_zone.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace modelpress {
namespace {

using ::testing::ElementsAre;

struct Work {
  explicit Work(size_t threads) : pool(threads) {
    context.pool = &pool;
    context.cancellation = &cancellation;
  }
  ThreadPool pool;
  Cancellation cancellation;
  JobContext context;
};

std::vector<float> Apply(const std::vector<float>& values, MagnitudeCut* cut, size_t threads = 2) {
  Work work(threads);
  std::vector<float> result(values.size());
  const auto applied = ApplyCut(std::as_bytes(std::span(values)), cut,
                                std::as_writable_bytes(std::span(result)), work.context, nullptr);
  EXPECT_TRUE(applied.ok());
  EXPECT_EQ(applied->zeros, static_cast<uint64_t>(std::ranges::count(result, 0.0f)));
  return result;
}

TEST(MagnitudeTest, ThresholdIsInclusive) {
  MagnitudeCut cut = CutAt(0.1);
  EXPECT_THAT(Apply({0.1f, -0.1f, 0.11f, -3, 0, 0.0999f}, &cut),
              ElementsAre(0, 0, 0.11f, -3, 0, 0));
  cut = CutAt(0);
  EXPECT_THAT(Apply({0.0f, -1e-45f, 1}, &cut), ElementsAre(0, -1e-45f, 1));
}

TEST(MagnitudeTest, TiesGoByIndexAcrossTensors) {
  const std::vector<float> a = {2, -1, 1}, b = {1, -1, 0.5f};
  const std::span<const std::byte> tensors[] = {std::as_bytes(std::span(a)),
                                                std::as_bytes(std::span(b))};
  Work work(1);
  auto cut = FindCut(tensors, 4, work.context);
  ASSERT_TRUE(cut.ok());
  EXPECT_THAT(Apply(a, &*cut), ElementsAre(2, 0, 0));
  EXPECT_THAT(Apply(b, &*cut), ElementsAre(0, -1, 0));
}

TEST(MagnitudeTest, EqualsSorting) {
  constexpr uint32_t kSeed = 42;
  SCOPED_TRACE(::testing::Message() << "seed " << kSeed);
  std::mt19937 random(kSeed);
  // Few distinct values make many ties; 600,000 make several pieces.
  for (const size_t count : {1ul, 17ul, 5000ul, 600000ul}) {
    for (const int distinct : {3, 1000000}) {
      std::vector<float> values(count);
      for (float& value : values) {
        value = static_cast<float>(static_cast<int>(random() % distinct) - distinct / 2) * 1e-3f;
      }
      std::vector<size_t> order(count);
      std::iota(order.begin(), order.end(), 0);
      std::ranges::stable_sort(order, {}, [&](size_t i) { return std::fabs(values[i]); });
      for (const double share : {0.0, 0.3, 0.999, 1.0}) {
        const auto zeros = static_cast<uint64_t>(share * static_cast<double>(count));
        std::vector<float> expected = values;
        for (uint64_t i = 0; i < zeros; ++i) expected[order[i]] = 0;
        const std::span<const std::byte> tensors[] = {std::as_bytes(std::span(values))};
        for (const size_t threads : {1, 4}) {
          Work work(threads);
          auto cut = FindCut(tensors, zeros, work.context);
          ASSERT_TRUE(cut.ok());
          EXPECT_TRUE(Apply(values, &*cut, threads) == expected) << count << " " << share;
          EXPECT_EQ(cut->ties, 0u);
        }
      }
    }
  }
}

TEST(DeadZoneTest, LeastErrorIsHalfAStepAndSparsityWidensIt) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  std::vector<float> values(20000);
  for (float& value : values) value = normal(random);
  values[0] = 6.35f;
  const AffineParameters parameters[] = {{0.05f, 0}};
  Work work(2);
  const auto bytes = std::as_bytes(std::span(values));
  const auto layout = WholeTensor(values.size());
  const auto plain = ChooseDeadZone(bytes, layout, parameters, 0, work.context);
  ASSERT_TRUE(plain.ok());
  // Half a step is 0.025; a bin is 6.35 / 2048.
  EXPECT_NEAR(*plain, 0.025, 0.0032);
  const auto sparse = ChooseDeadZone(bytes, layout, parameters, 0.5, work.context);
  ASSERT_TRUE(sparse.ok());
  // Half of a normal distribution lies within 0.6745 of its mean.
  EXPECT_NEAR(*sparse, 0.6745, 0.03);
  const auto zeros =
      std::ranges::count_if(values, [&](float v) { return std::fabs(v) <= *sparse; });
  EXPECT_GE(zeros, 10000);
}

}  // namespace
}  // namespace modelpress
