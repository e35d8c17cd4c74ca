// Samples from arrays: see array_samples.h.
#include "core/data/array_samples.h"

#include <algorithm>
#include <utility>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/data/input_feed.h"
#include "core/data/labels.h"
#include "core/data/split_arrays.h"

namespace modelpress {
namespace {

class ArraySamples : public Samples {
 public:
  ArraySamples(std::vector<InputFeed> feeds, std::optional<Labels> labels, std::string description)
      : feeds_(std::move(feeds)),
        labels_(std::move(labels)),
        description_(std::move(description)) {}

  uint64_t size() const override { return samples_; }
  uint64_t batches() const override { return (samples_ + batch_size_ - 1) / batch_size_; }
  bool has_labels() const override { return labels_.has_value(); }
  std::string description() const override { return description_; }

  absl::StatusOr<Batch> Read(uint64_t index) const override {
    if (index >= batches()) {
      return Error(ERROR_REASON_INTERNAL_BUG, "a feed was asked for that the samples do not have");
    }
    Batch batch;
    batch.first = index * batch_size_;
    batch.samples = std::min(batch_size_, samples_ - batch.first);
    for (const InputFeed& feed : feeds_) {
      MP_ASSIGN_OR_RETURN(batch.inputs[feed.input_name()], feed.Read(batch.first, batch.samples));
    }
    if (labels_.has_value()) {
      MP_ASSIGN_OR_RETURN(batch.labels, labels_->Read(batch.first, batch.samples));
    }
    return batch;
  }

  // How many samples there are: every input's array must say the same.
  absl::Status CountSamples() {
    const InputFeed* counted = nullptr;
    for (const InputFeed& feed : feeds_) {
      if (feed.layout() == InputFeed::Layout::kConstant) continue;
      if (counted == nullptr) counted = &feed;
      if (feed.samples() != counted->samples()) {
        return Error(ERROR_REASON_DATA_INVALID,
                     FormatString("input '{}' has {} samples but input '{}' has {}",
                                  feed.input_name(), feed.samples(), counted->input_name(),
                                  counted->samples()))
            .With("input", feed.input_name())
            .With("expected", std::to_string(counted->samples()))
            .With("found", std::to_string(feed.samples()));
      }
    }
    // All inputs are scalars given once: that is one sample.
    samples_ = counted == nullptr ? 1 : counted->samples();
    if (labels_.has_value() && labels_->samples() != samples_) {
      return Error(ERROR_REASON_DATA_INVALID,
                   FormatString("there are {} labels for {} samples", labels_->samples(), samples_))
          .With("input", "labels")
          .With("expected", std::to_string(samples_))
          .With("found", std::to_string(labels_->samples()));
    }
    return absl::OkStatus();
  }

  absl::Status ChooseBatch(uint64_t wanted, uint64_t max_samples) {
    const InputFeed* fixed = nullptr;
    batch_size_ = std::max<uint64_t>(wanted, 1);
    for (const InputFeed& feed : feeds_) {
      if (feed.layout() != InputFeed::Layout::kBatched) batch_size_ = 1;
      if (feed.fixed_batch() == 0) continue;
      if (fixed == nullptr) fixed = &feed;
      if (feed.fixed_batch() != fixed->fixed_batch()) return FixedBatchesDiffer(*fixed, feed);
    }
    const uint64_t all = samples_;
    if (max_samples != 0) samples_ = std::min(samples_, max_samples);
    if (fixed != nullptr) {
      const uint64_t extent = fixed->fixed_batch();
      if (batch_size_ == 1 && extent != 1 && SampleBySample()) {
        return FixedBatchesDiffer(*fixed, *fixed);
      }
      batch_size_ = extent;
      if (all % extent != 0) return NotAMultiple(*fixed, all);
      samples_ = std::max(samples_ / extent, uint64_t{1}) * extent;
    }
    if (samples_ < all) description_ += FormatString(" (first {} of {} samples)", samples_, all);
    return absl::OkStatus();
  }

 private:
  bool SampleBySample() const {
    return std::ranges::any_of(
        feeds_, [](const auto& feed) { return feed.layout() != InputFeed::Layout::kBatched; });
  }

  static absl::Status FixedBatchesDiffer(const InputFeed& a, const InputFeed& b) {
    return Error(
               ERROR_REASON_DATA_INVALID,
               FormatString("axis 0 of input '{}' is fixed at {}, which does not go together with "
                            "the other inputs' samples",
                            a.input_name(), a.fixed_batch()))
        .With("input", b.input_name())
        .Remedy("give the arrays one rank more, each a[i] exactly as it is fed");
  }

  static absl::Status NotAMultiple(const InputFeed& feed, uint64_t samples) {
    return Error(ERROR_REASON_DATA_INVALID,
                 FormatString("the model takes exactly {} samples of input '{}' at once, but there "
                              "are {}",
                              feed.fixed_batch(), feed.input_name(), samples))
        .With("input", feed.input_name())
        .With("expected", FormatString("a multiple of {}", feed.fixed_batch()))
        .With("found", std::to_string(samples))
        .Remedy("leave out or add samples");
  }

  std::vector<InputFeed> feeds_;
  std::optional<Labels> labels_;
  std::string description_;
  uint64_t samples_ = 0;
  uint64_t batch_size_ = 1;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Samples>> OpenSplit(const SplitFiles& files,
                                                   const std::vector<ValueInfo>& inputs,
                                                   uint64_t batch_size, uint64_t max_samples) {
  if (inputs.empty()) {
    return Error(ERROR_REASON_DATA_INVALID, "the model has no inputs, so it takes no data");
  }
  SplitArrays arrays(files);
  std::vector<InputFeed> feeds;
  for (const ValueInfo& input : inputs) {
    MP_ASSIGN_OR_RETURN(InputFeed feed, arrays.TakeInput(input));
    feeds.push_back(std::move(feed));
  }
  MP_ASSIGN_OR_RETURN(std::optional<Labels> labels, arrays.TakeLabels());
  MP_RETURN_IF_ERROR(arrays.CheckNothingLeft(inputs));
  auto samples =
      std::make_unique<ArraySamples>(std::move(feeds), std::move(labels), files.description);
  MP_RETURN_IF_ERROR(samples->CountSamples());
  MP_RETURN_IF_ERROR(samples->ChooseBatch(batch_size, max_samples));
  return samples;
}

}  // namespace modelpress
