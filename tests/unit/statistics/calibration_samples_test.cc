// The order in which samples calibrate.
#include "core/statistics/calibration_samples.h"

#include <algorithm>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/test_job.h"

namespace modelpress {
namespace {

// Feeds of two samples with one number each.
class NumberSamples : public Samples {
 public:
  explicit NumberSamples(std::vector<int> numbers) : numbers_(std::move(numbers)) {}
  uint64_t size() const override { return 2 * numbers_.size(); }
  uint64_t batches() const override { return numbers_.size(); }
  bool has_labels() const override { return false; }
  std::string description() const override { return "numbers"; }
  absl::StatusOr<Batch> Read(uint64_t index) const override {
    std::span<std::byte> bytes;
    Tensor tensor = Tensor::Make(DataType::kInt32, {2, 1}, &bytes).value();
    std::ranges::copy(std::as_bytes(std::span(&numbers_[index], 1)), bytes.begin());
    Batch batch{.samples = 2, .first = 2 * index};
    batch.inputs.emplace("x", std::move(tensor));
    return batch;
  }

 private:
  std::vector<int> numbers_;
};

std::vector<int> Ordered(std::vector<int> numbers, uint64_t max_samples) {
  testing::TestJob job(3);
  const auto samples =
      InContentOrder(std::make_unique<NumberSamples>(numbers), max_samples, job.context());
  EXPECT_TRUE(samples.ok()) << samples.status();
  std::vector<int> found;
  for (uint64_t i = 0; i < (*samples)->batches(); ++i) {
    found.push_back((*samples)->Read(i)->inputs.at("x").as<int>()[0]);
  }
  EXPECT_EQ((*samples)->size(), 2 * found.size());
  EXPECT_EQ((*samples)->description(), "numbers");
  return found;
}

TEST(InContentOrderTest, IsTheSameForAnyOrder) {
  std::vector<int> numbers(40);
  for (int i = 0; i < 40; ++i) numbers[i] = i / 2;  // every sample twice
  const std::vector<int> all = Ordered(numbers, 0), some = Ordered(numbers, 14);
  EXPECT_THAT(all, ::testing::UnorderedElementsAreArray(numbers));
  EXPECT_NE(all, numbers);
  EXPECT_EQ(some, std::vector<int>(all.begin(), all.begin() + 7));
  std::mt19937 random(3);
  for (int round = 0; round < 5; ++round) {
    std::ranges::shuffle(numbers, random);
    EXPECT_EQ(Ordered(numbers, 0), all);
    EXPECT_EQ(Ordered(numbers, 14), some);
  }
}

}  // namespace
}  // namespace modelpress
