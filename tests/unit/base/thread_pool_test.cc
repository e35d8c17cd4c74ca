// The pool runs every index once, reports the first failure, and never oversubscribes.
#include "core/base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "core/base/status.h"

namespace modelpress {
namespace {

class ThreadPoolTest : public ::testing::TestWithParam<size_t> {};

TEST_P(ThreadPoolTest, RunsEveryIndexOnce) {
  ThreadPool pool(GetParam());
  for (size_t count : {0, 1, 2, 7, 1000}) {
    std::vector<std::atomic<int>> runs(count);
    ASSERT_TRUE(pool.ParallelFor(count,
                                 [&](size_t i) {
                                   ++runs[i];
                                   return absl::OkStatus();
                                 })
                    .ok());
    for (const auto& run : runs) EXPECT_EQ(run, 1);
  }
}

TEST_P(ThreadPoolTest, ReturnsAFailureAndStopsEarly) {
  ThreadPool pool(GetParam());
  std::atomic<int> runs = 0;
  const absl::Status status = pool.ParallelFor(1'000'000, [&](size_t i) -> absl::Status {
    ++runs;
    if (i == 10) return Error(ERROR_REASON_JOB_CANCELLED, "stop");
    return absl::OkStatus();
  });
  EXPECT_EQ(ReasonOf(status), ERROR_REASON_JOB_CANCELLED);
  EXPECT_LT(runs, 1'000'000);
}

TEST_P(ThreadPoolTest, InnerLoopsNeverUseMoreThreadsThanThePool) {
  ThreadPool pool(GetParam());
  std::atomic<size_t> active = 0, most = 0, total = 0;
  ASSERT_TRUE(pool.ParallelFor(8,
                               [&](size_t) {
                                 return pool.ParallelFor(8, [&](size_t) {
                                   const size_t now = ++active;
                                   size_t seen = most;
                                   while (now > seen && !most.compare_exchange_weak(seen, now)) {
                                   }
                                   std::this_thread::yield();
                                   --active;
                                   ++total;
                                   return absl::OkStatus();
                                 });
                               })
                  .ok());
  EXPECT_EQ(total, 64u);
  EXPECT_LE(most, GetParam());
}

TEST_P(ThreadPoolTest, SeveralCallersShareOnePool) {
  ThreadPool pool(GetParam());
  std::atomic<int> sum = 0;
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; ++c) {
    callers.emplace_back([&] {
      for (int round = 0; round < 50; ++round) {
        EXPECT_TRUE(pool.ParallelFor(20,
                                     [&](size_t) {
                                       ++sum;
                                       return absl::OkStatus();
                                     })
                        .ok());
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(sum, 4 * 50 * 20);
}

INSTANTIATE_TEST_SUITE_P(Threads, ThreadPoolTest, ::testing::Values(1, 2, 4, 9));

}  // namespace
}  // namespace modelpress
