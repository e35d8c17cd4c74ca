// The ledger of places, memory and scratch space.
#include "server/jobs/admission.h"

#include <gtest/gtest.h>

#include <random>

#include "core/base/status.h"

namespace modelpress {
namespace {

constexpr AdmissionLimits kLimits = {
    .memory_bytes = 100, .scratch_bytes = 1000, .workers = 1, .max_queued_jobs = 2};

TEST(AdmissionTest, RefusesForEverWhatIsLargerThanTheServer) {
  Admission admission(kLimits);
  const absl::Status memory = admission.Accept(101, 10);
  EXPECT_EQ(ReasonOf(memory), ERROR_REASON_MEMORY_BUDGET);
  EXPECT_EQ(DetailOf(memory).metadata().at("never"), "true");
  EXPECT_EQ(DetailOf(memory).metadata().at("available"), "100");
  const absl::Status scratch = admission.Accept(10, 1001);
  EXPECT_EQ(ReasonOf(scratch), ERROR_REASON_SCRATCH_FULL);
  EXPECT_EQ(DetailOf(scratch).metadata().at("never"), "true");
  EXPECT_EQ(admission.places_in_use(), 0u);
  EXPECT_EQ(admission.scratch_in_use(), 0u);
}

TEST(AdmissionTest, ScratchIsTakenUntilItIsReleased) {
  Admission admission(kLimits);
  ASSERT_TRUE(admission.Accept(1, 600).ok());
  const absl::Status full = admission.Accept(1, 401);
  EXPECT_EQ(ReasonOf(full), ERROR_REASON_SCRATCH_FULL);
  EXPECT_FALSE(DetailOf(full).metadata().contains("never"));
  EXPECT_TRUE(admission.Accept(1, 400).ok());
  admission.ReleaseScratch(600);
  EXPECT_TRUE(admission.Accept(1, 600).ok());
}

TEST(AdmissionTest, QueueIsBounded) {
  Admission admission(kLimits);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(admission.Accept(1, 1).ok());
  EXPECT_EQ(ReasonOf(admission.Accept(1, 1)), ERROR_REASON_QUEUE_FULL);
  admission.LeavePlace();
  EXPECT_TRUE(admission.Accept(1, 1).ok());
}

TEST(AdmissionTest, JobsWaitForMemory) {
  Admission admission(kLimits);
  EXPECT_TRUE(admission.StartRunning(60));
  EXPECT_FALSE(admission.StartRunning(41));
  EXPECT_TRUE(admission.StartRunning(40));
  admission.StopRunning(60);
  EXPECT_TRUE(admission.StartRunning(60));
}

TEST(AdmissionTest, WorkersGetTheirPlanOrAnEqualShare) {
  const Admission admission(
      {.memory_bytes = 100, .scratch_bytes = 1, .workers = 4, .max_queued_jobs = 0});
  EXPECT_EQ(admission.WorkerMemoryLimit(10), 25u);
  EXPECT_EQ(admission.WorkerMemoryLimit(70), 70u);
}

// Whatever is accepted and released in whatever order: nothing is ever over its limit, and all of it comes back.
TEST(AdmissionTest, LedgerBalances) {
  for (uint32_t seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    Admission admission(kLimits);
    std::vector<uint64_t> held;
    for (int step = 0; step < 200; ++step) {
      if (random() % 2 == 0) {
        const uint64_t scratch = random() % 1200;
        if (admission.Accept(random() % 120, scratch).ok()) held.push_back(scratch);
      } else if (!held.empty()) {
        admission.LeavePlace();
        admission.ReleaseScratch(held.back());
        held.pop_back();
      }
      ASSERT_LE(admission.scratch_in_use(), kLimits.scratch_bytes);
      ASSERT_LE(admission.places_in_use(), kLimits.workers + kLimits.max_queued_jobs);
      ASSERT_EQ(admission.places_in_use(), held.size());
    }
    for (uint64_t scratch : held) admission.ReleaseScratch(scratch);
    EXPECT_EQ(admission.scratch_in_use(), 0u);
  }
}

}  // namespace
}  // namespace modelpress
