// The cut by magnitude against sorting.
#include "core/quant/magnitude.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

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
  const auto applied = ApplyCut({std::as_bytes(std::span(values))}, cut,
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
  const Magnitudes tensors[] = {{std::as_bytes(std::span(a))}, {std::as_bytes(std::span(b))}};
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
        const Magnitudes tensors[] = {{std::as_bytes(std::span(values))}};
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

// Half precision: -2, 0.5, 65504, -2^-24, 0, 0.25 as float16; the upper halves of float32 numbers.
TEST(MagnitudeTest, HalfPrecisionComparesWithFloat) {
  const std::vector<uint16_t> half = {0xc000, 0x3800, 0x7bff, 0x8001, 0x0000, 0x3400};
  const std::vector<uint16_t> brain = {0xc000, 0x3f00, 0x0001, 0xbe80};  // -2, 0.5, tiny, -0.25
  const std::vector<float> full = {0.3f, 1};
  const Magnitudes tensors[] = {{std::as_bytes(std::span(half)), DataType::kFloat16},
                                {std::as_bytes(std::span(brain)), DataType::kBfloat16},
                                {std::as_bytes(std::span(full))}};
  Work work(1);
  // In order: 0, 9e-41, 6e-8, 0.25, 0.25, 0.3, 0.5 ...
  auto cut = FindCut(tensors, 6, work.context);
  ASSERT_TRUE(cut.ok());
  EXPECT_EQ(cut->threshold(), 0.3f);
  std::vector<uint16_t> result(half.size());
  const auto applied =
      ApplyCut(tensors[0], &*cut, std::as_writable_bytes(std::span(result)), work.context, nullptr);
  ASSERT_TRUE(applied.ok());
  EXPECT_THAT(result, ElementsAre(0xc000, 0x3800, 0x7bff, 0, 0, 0));
  EXPECT_EQ(applied->zeros, 3u);
  EXPECT_EQ(applied->changed, 2u);
  result.resize(brain.size());
  ASSERT_TRUE(
      ApplyCut(tensors[1], &*cut, std::as_writable_bytes(std::span(result)), work.context, nullptr)
          .ok());
  EXPECT_THAT(result, ElementsAre(0xc000, 0x3f00, 0, 0));
  for (const uint16_t bits : {0x7c00, 0x7e01}) {
    const std::vector<uint16_t> bad = {0x3800, bits};
    const auto finite =
        AllFinite({std::as_bytes(std::span(bad)), DataType::kFloat16}, work.context);
    ASSERT_TRUE(finite.ok());
    EXPECT_FALSE(*finite);
  }
}

}  // namespace
}  // namespace modelpress
