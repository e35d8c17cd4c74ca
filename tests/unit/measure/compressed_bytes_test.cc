// Compressed size: the same for every thread count, and that of zstd.
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "core/base/format_string.h"
#include "core/base/scratch.h"
#include "core/base/status.h"
#include "core/measure/sizes.h"

namespace modelpress {
namespace {

TEST(CompressedBytesTest, SameForEveryThreadCountAndSmallerForZeros) {
  auto scratch = Scratch::Temporary(0).value();
  constexpr uint64_t kSize = (17 << 20) + 123;  // three frames, the last one short
  constexpr unsigned kSeed = 5;
  SCOPED_TRACE(FormatString("seed {}", kSeed));
  std::mt19937_64 random(kSeed);
  auto noise = scratch->NewFile(kSize).value();
  for (uint64_t i = 0; i + 8 <= kSize; i += 8) {
    const uint64_t value = random();
    std::memcpy(noise->mutable_bytes().data() + i, &value, 8);
  }
  auto zeros = scratch->NewFile(kSize).value();
  auto empty = scratch->NewFile(0).value();
  Cancellation cancellation;
  std::vector<uint64_t> totals;
  for (const size_t threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    const JobContext context{.pool = &pool, .cancellation = &cancellation};
    totals.push_back(CompressedBytes({noise, zeros, empty}, context).value());
    EXPECT_GE(CompressedBytes({noise}, context).value(), kSize - 8);
    EXPECT_LT(CompressedBytes({zeros}, context).value(), 10000u);
    EXPECT_EQ(CompressedBytes({empty}, context).value(), 0u);
  }
  EXPECT_EQ(totals[0], totals[1]);
  EXPECT_EQ(totals[0], totals[2]);
  ThreadPool pool(2);
  cancellation.Cancel();
  EXPECT_EQ(
      ReasonOf(CompressedBytes({noise}, {.pool = &pool, .cancellation = &cancellation}).status()),
      ERROR_REASON_JOB_CANCELLED);
}

}  // namespace
}  // namespace modelpress
