// Calibration samples; see calibration_samples.h.
#include "core/statistics/calibration_samples.h"

#include <algorithm>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "core/base/sha256.h"
#include "core/base/status.h"

namespace modelpress {
namespace {

// Some of a data set's feeds, in another order.
class ReorderedSamples final : public Samples {
 public:
  ReorderedSamples(std::unique_ptr<Samples> samples, std::vector<uint64_t> feeds, uint64_t size)
      : samples_(std::move(samples)), feeds_(std::move(feeds)), size_(size) {}

  uint64_t size() const override { return size_; }
  uint64_t batches() const override { return feeds_.size(); }
  absl::StatusOr<Batch> Read(uint64_t index) const override {
    return samples_->Read(feeds_[index]);
  }
  bool has_labels() const override { return samples_->has_labels(); }
  std::string description() const override { return samples_->description(); }
  bool synthetic() const override { return samples_->synthetic(); }

 private:
  std::unique_ptr<Samples> samples_;
  std::vector<uint64_t> feeds_;
  uint64_t size_;
};

std::string Digest(const Batch& batch) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : batch.inputs) names.push_back(name);
  std::ranges::sort(names);
  Sha256 digest;
  for (const std::string& name : names) {
    const Tensor& tensor = batch.inputs.at(name);
    digest.Update(std::as_bytes(std::span(name)));
    digest.Update(tensor.bytes);
    for (const std::string& text : tensor.strings) digest.Update(std::as_bytes(std::span(text)));
  }
  return digest.FinishHex();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Samples>> OpenCalibrationSamples(
    const Model& model, const DataSet* data, uint64_t max_samples, uint64_t synthetic_count,
    uint64_t seed, const JobContext& context) {
  if (data == nullptr) return MakeSyntheticSamples(model, synthetic_count, seed);
  MP_ASSIGN_OR_RETURN(std::unique_ptr<Samples> samples,
                      data->Split("calib", {"train", "unlabeled", "val", "test"},
                                  DeclaredInputs(model), /*batch_size=*/1, /*max_samples=*/0));
  if (samples->size() == 0) {
    return Error(ERROR_REASON_DATA_INVALID, "the data set holds no samples to calibrate on")
        .With("expected", "samples");
  }
  // Sums of floats, and which samples are held back, depend on the order.
  return InContentOrder(std::move(samples), max_samples, context);
}

absl::StatusOr<std::unique_ptr<Samples>> InContentOrder(std::unique_ptr<Samples> samples,
                                                        uint64_t max_samples,
                                                        const JobContext& context) {
  struct Feed {
    std::string digest;
    uint64_t index = 0, samples = 0;
  };
  std::vector<Feed> feeds(samples->batches());
  MP_RETURN_IF_ERROR(context.pool->ParallelFor(feeds.size(), [&](size_t i) -> absl::Status {
    MP_RETURN_IF_ERROR(context.cancellation->Check());
    MP_ASSIGN_OR_RETURN(const Batch batch, samples->Read(i));
    feeds[i] = {Digest(batch), i, batch.samples};
    return absl::OkStatus();
  }));
  std::ranges::sort(feeds, [](const Feed& a, const Feed& b) {
    return std::tie(a.digest, a.index) < std::tie(b.digest, b.index);
  });
  std::vector<uint64_t> chosen;
  uint64_t size = 0;
  for (const Feed& feed : feeds) {
    if (max_samples > 0 && size >= max_samples) break;
    chosen.push_back(feed.index);
    size += feed.samples;
  }
  return std::make_unique<ReorderedSamples>(std::move(samples), std::move(chosen), size);
}

SamplePart SamplePart::Every(const Samples& all, uint64_t n) {
  std::vector<uint64_t> feeds;
  for (uint64_t i = n - 1; i < all.batches(); i += n) feeds.push_back(i);
  return {all, std::move(feeds)};
}

SamplePart SamplePart::WithoutEvery(const Samples& all, uint64_t n) {
  std::vector<uint64_t> feeds;
  for (uint64_t i = 0; i < all.batches(); ++i) {
    if (i % n != n - 1) feeds.push_back(i);
  }
  return {all, std::move(feeds)};
}

SamplePart SamplePart::Spread(const Samples& all, uint64_t count) {
  const uint64_t total = all.batches();
  const uint64_t chosen = std::min(total, count);
  std::vector<uint64_t> feeds;
  for (uint64_t i = 0; i < chosen; ++i) feeds.push_back(i * total / chosen);
  return {all, std::move(feeds)};
}

}  // namespace modelpress
