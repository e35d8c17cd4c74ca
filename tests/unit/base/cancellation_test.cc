// A job's flag and deadline.
#include "core/base/cancellation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace modelpress {
namespace {

TEST(CancellationTest, WithoutADeadlineOnlyTheFlagCounts) {
  Cancellation cancellation;
  EXPECT_TRUE(cancellation.Check().ok());
  EXPECT_TRUE(std::isinf(cancellation.SecondsLeft()));
  cancellation.Cancel();
  EXPECT_EQ(ReasonOf(cancellation.Check()), ERROR_REASON_JOB_CANCELLED);
}

TEST(CancellationTest, DeadlinesOfAnyLength) {
  Cancellation passed;
  passed.EndIn(0);
  EXPECT_EQ(ReasonOf(passed.Check()), ERROR_REASON_JOB_DEADLINE);
  EXPECT_EQ(passed.SecondsLeft(), 0);
  for (const double seconds : {1e4, 1e300, std::numeric_limits<double>::infinity()}) {
    Cancellation far;
    far.EndIn(seconds);
    EXPECT_TRUE(far.Check().ok()) << seconds;
    EXPECT_GT(far.SecondsLeft(), 9e3) << seconds;
    EXPECT_TRUE(std::isfinite(far.SecondsLeft())) << seconds;
  }
}

}  // namespace
}  // namespace modelpress
