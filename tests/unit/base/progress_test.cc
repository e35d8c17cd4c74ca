// Weighted progress.
#include "core/base/progress.h"

#include <gtest/gtest.h>

#include <vector>

#include "core/base/status.h"
#include "modelpress/v1/report.pb.h"

namespace modelpress {
namespace {

TEST(ProgressTest, WeightsAddUpAndNothingGoesBackwards) {
  std::vector<Progress> seen;
  ProgressTracker tracker([&](const Progress& p) { seen.push_back(p); },
                          {{"read", 1}, {"skipped", 4}, {"judge", 5}});
  tracker.Start("read");
  tracker.Update(1);
  tracker.Start("judge");
  tracker.Update(1);
  tracker.Update(0.2);
  ASSERT_EQ(seen.size(), 4u);
  EXPECT_DOUBLE_EQ(seen[0].total_fraction(), 0);
  EXPECT_DOUBLE_EQ(seen[1].total_fraction(), 0.1);
  EXPECT_DOUBLE_EQ(seen[2].total_fraction(), 0.5);
  EXPECT_DOUBLE_EQ(seen[3].total_fraction(), 1);
  EXPECT_EQ(seen[3].phase(), "judge");
}

TEST(ProgressTest, RepeatedStepNamesAreTakenInOrder) {
  std::vector<double> seen;
  ProgressTracker tracker([&](const Progress& p) { seen.push_back(p.total_fraction()); },
                          {{"prune", 1}, {"prune", 1}});
  tracker.Start("prune");
  tracker.Start("prune");
  EXPECT_EQ(seen, (std::vector<double>{0, 0.5}));
}

TEST(ProgressTest, FastUpdatesAreThinnedButTheEndIsTold) {
  int calls = 0;
  ProgressTracker tracker([&](const Progress&) { ++calls; }, {{"read", 1}});
  tracker.Start("read");
  for (int i = 0; i <= 1000; ++i) tracker.Update(i / 1000.0);
  EXPECT_GE(calls, 2);
  EXPECT_LT(calls, 100);
}

}  // namespace
}  // namespace modelpress
