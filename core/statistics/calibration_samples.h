// The samples that passes calibrate on.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/job_context.h"
#include "core/data/samples.h"
#include "core/model/model.h"

namespace modelpress {

// One sample a feed where the model allows it: split calib, else train, unlabeled, val, test, or
// the data set without splits; without data, `synthetic_count` seeded synthetic samples (which
// Samples::synthetic() tells). At most `max_samples` (0: all), in content order. Errors: those of the
// data.
absl::StatusOr<std::unique_ptr<Samples>> OpenCalibrationSamples(
    const Model& model, const DataSet* data, uint64_t max_samples, uint64_t synthetic_count,
    uint64_t seed, const JobContext& context);

// The same samples in an order that depends on what they hold alone, at most `max_samples` of them (0:
// all): what is made of them is the same however the data set orders them. Reads every sample once.
absl::StatusOr<std::unique_ptr<Samples>> InContentOrder(std::unique_ptr<Samples> samples,
                                                        uint64_t max_samples,
                                                        const JobContext& context);

// Some feeds of others, which must outlive it.
class SamplePart final : public Samples {
 public:
  SamplePart(const Samples& all, std::vector<uint64_t> feeds)
      : all_(all), feeds_(std::move(feeds)) {}
  // Feeds n - 1, 2n - 1, ...; and the others.
  static SamplePart Every(const Samples& all, uint64_t n);
  static SamplePart WithoutEvery(const Samples& all, uint64_t n);
  // At most `count` of them, evenly spread.
  static SamplePart Spread(const Samples& all, uint64_t count);

  uint64_t size() const override { return feeds_.size(); }
  uint64_t batches() const override { return feeds_.size(); }
  absl::StatusOr<Batch> Read(uint64_t index) const override { return all_.Read(feeds_[index]); }
  bool has_labels() const override { return all_.has_labels(); }
  std::string description() const override { return all_.description(); }
  bool synthetic() const override { return all_.synthetic(); }

 private:
  const Samples& all_;
  std::vector<uint64_t> feeds_;
};

}  // namespace modelpress
