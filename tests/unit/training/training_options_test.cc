// Defaults that depend on what is trained on.
#include "core/training/training_options.h"

#include <gtest/gtest.h>

namespace modelpress {
namespace {

TEST(TrainingOptionsTest, FewSamplesAreNotGoneThroughMoreOftenThanAHundredTimes) {
  const struct {
    uint64_t samples;
    uint32_t batch_size, steps;
  } kCases[] = {
      {0, 0, 200},     {10, 0, 200},    {200, 0, 200},        {675, 0, 675},
      {1499, 0, 1499}, {1500, 0, 1500}, {1'000'000, 0, 1500}, {100, 8, 1250},
  };
  for (const auto& test : kCases) {
    Training training;
    training.set_batch_size(test.batch_size);
    const Training full = WithDefaults(training, test.samples);
    EXPECT_EQ(full.steps(), test.steps) << test.samples << " samples";
    EXPECT_EQ(full.evaluate_every(), test.steps / 20);
    training.set_steps(3);
    EXPECT_EQ(WithDefaults(training, test.samples).steps(), 3u) << "what is told stays";
  }
  EXPECT_EQ(WithDefaults(Training()).steps(), 1500u);
}

}  // namespace
}  // namespace modelpress
