// Joining feeds along axis 0: see joined_samples.h.
#include "core/channels/joined_samples.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "core/base/format_string.h"
#include "core/base/status.h"

namespace modelpress {
namespace {

class JoinedSamples final : public Samples {
 public:
  JoinedSamples(std::unique_ptr<Samples> samples, uint64_t each)
      : samples_(std::move(samples)), each_(each) {}

  uint64_t size() const override { return samples_->size(); }
  uint64_t batches() const override { return (samples_->batches() + each_ - 1) / each_; }
  bool has_labels() const override { return false; }
  std::string description() const override { return samples_->description(); }
  bool synthetic() const override { return samples_->synthetic(); }

  absl::StatusOr<Batch> Read(uint64_t index) const override {
    const uint64_t first = index * each_;
    const uint64_t count = std::min(each_, samples_->batches() - first);
    std::vector<Batch> feeds;
    for (uint64_t i = 0; i < count; ++i) {
      MP_ASSIGN_OR_RETURN(feeds.emplace_back(), samples_->Read(first + i));
    }
    Batch joined{.first = feeds[0].first};
    for (const Batch& feed : feeds) joined.samples += feed.samples;
    for (const auto& [name, tensor] : feeds[0].inputs) {
      MP_ASSIGN_OR_RETURN(joined.inputs[name], Join(feeds, name));
    }
    return joined;
  }

 private:
  static absl::StatusOr<Tensor> Join(const std::vector<Batch>& feeds, const std::string& name) {
    const Tensor& like = feeds[0].inputs.at(name);
    std::vector<int64_t> dims = like.dims;
    for (size_t i = 1; i < feeds.size(); ++i) {
      const Tensor& tensor = feeds[i].inputs.at(name);
      const bool fits = !dims.empty() && tensor.type == like.type &&
                        tensor.dims.size() == dims.size() &&
                        std::equal(dims.begin() + 1, dims.end(), tensor.dims.begin() + 1);
      if (!fits) {
        return Error(ERROR_REASON_DATA_INVALID,
                     FormatString("sample {} has another shape than others", feeds[i].first))
            .With("input", name);
      }
      dims[0] += tensor.dims[0];
    }
    if (like.type == DataType::kString) {
      Tensor joined{.type = like.type, .dims = dims};
      for (const Batch& feed : feeds) {
        const auto& strings = feed.inputs.at(name).strings;
        joined.strings.insert(joined.strings.end(), strings.begin(), strings.end());
      }
      return joined;
    }
    std::span<std::byte> bytes;
    MP_ASSIGN_OR_RETURN(Tensor joined, Tensor::Make(like.type, dims, &bytes));
    auto to = bytes.begin();
    for (const Batch& feed : feeds) {
      to = std::ranges::copy(feed.inputs.at(name).bytes, to).out;
    }
    return joined;
  }

  std::unique_ptr<Samples> samples_;
  uint64_t each_;
};

}  // namespace

std::unique_ptr<Samples> JoinSamples(std::unique_ptr<Samples> samples, uint64_t each) {
  return std::make_unique<JoinedSamples>(std::move(samples), each);
}

}  // namespace modelpress
