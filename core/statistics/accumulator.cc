// Folding observations into statistics; see accumulator.h.
#include "core/statistics/accumulator.h"

#include <algorithm>

#include "core/base/format_string.h"
#include "core/quant/quantize_tensor.h"
#include "core/quant/range_kernels.h"

namespace modelpress {
namespace {

// Elements of one piece of work: 1 MiB of floats.
constexpr size_t kPiece = 256 * 1024;

// body(first, count) over pieces of `total` whose borders do not depend on threads.
template <typename Body>
void ForPieces(size_t total, ThreadPool& pool, const Body& body) {
  const size_t pieces = (total + kPiece - 1) / kPiece;
  const auto piece = [&](size_t i) {
    body(i, i * kPiece, std::min(kPiece, total - i * kPiece));
    return absl::OkStatus();
  };
  if (pieces == 1) {
    piece(0).IgnoreError();
  } else {
    pool.ParallelFor(pieces, piece).IgnoreError();
  }
}

// The range of the values, and where `histogram` is not null they are added to it if all are finite.
ValueRange AddInPieces(std::span<const float> values, ThreadPool& pool, Histogram* histogram) {
  if (values.size() <= kPiece) {
    const ValueRange range = RangeOf(values.data(), values.size(), /*symmetric=*/false);
    if (histogram != nullptr && range.finite) histogram->Add(values, range);
    return range;
  }
  const size_t pieces = (values.size() + kPiece - 1) / kPiece;
  std::vector<ValueRange> ranges(pieces);
  std::vector<Histogram> parts(histogram != nullptr ? pieces : 0);
  ForPieces(values.size(), pool, [&](size_t i, size_t first, size_t count) {
    ranges[i] = RangeOf(values.data() + first, count, /*symmetric=*/false);
    // While the piece is in the cache.
    if (!parts.empty() && ranges[i].finite) parts[i].Add(values.subspan(first, count), ranges[i]);
  });
  ValueRange all;
  for (const ValueRange& range : ranges) all.Merge(range);
  if (histogram != nullptr && all.finite) {
    for (const Histogram& part : parts) histogram->Merge(part);
  }
  return all;
}

std::string Shape(std::span<const int64_t> dims) {
  std::string text = "[";
  for (size_t i = 0; i < dims.size(); ++i) text += FormatString("{}{}", i > 0 ? ", " : "", dims[i]);
  return text + "]";
}

}  // namespace

bool Accumulator::Add(const Tensor& value, uint64_t feed, bool few_feeds, ThreadPool& pool,
                      std::string* problem) {
  const std::span<const float> values = value.as<float>();
  basic_.last_dims = value.dims;
  if (values.empty()) return true;
  if (request_.histogram && !basic_.histogram.has_value()) basic_.histogram.emplace();
  const ValueRange range =
      AddInPieces(values, pool, request_.histogram ? &*basic_.histogram : nullptr);
  if (!range.finite) return false;
  basic_.min = std::min<double>(basic_.min, range.min);
  basic_.max = std::max<double>(basic_.max, range.max);
  basic_.count += values.size();
  if (request_.channel_axis.has_value()) AddChannels(value, pool, problem);
  if (request_.gram.has_value() && gather_gram_) AddGram(value, feed, few_feeds, pool, problem);
  return true;
}

void Accumulator::AddChannels(const Tensor& value, ThreadPool& pool, std::string* problem) {
  const auto rank = static_cast<int64_t>(value.dims.size());
  const int64_t given = *request_.channel_axis;
  const int64_t axis = given < 0 ? given + rank : given;
  if (axis < 0 || axis >= rank) {
    *problem = FormatString("of shape {}, it has no axis {}", Shape(value.dims), given);
    return;
  }
  const ChannelLayout layout = LayoutOf(value.dims, static_cast<size_t>(axis));
  if (!channels_.has_value()) {
    channels_.emplace();
    channels_->min.resize(layout.channels);
    channels_->max.resize(layout.channels);
    channels_->sum.resize(layout.channels);
    channels_->square.resize(layout.channels);
  }
  if (channels_->min.size() != layout.channels) {
    *problem =
        FormatString("its channels vary: {}, then {}", channels_->min.size(), layout.channels);
    return;
  }
  const float* x = value.as<float>().data();
  const size_t inner = layout.inner, stride = layout.channels * layout.inner;
  const auto channel = [&](size_t c) {
    double sum = 0, square = 0;
    float min = channels_->min[c], max = channels_->max[c];
    for (size_t outer = 0; outer < layout.outer; ++outer) {
      const float* run = x + outer * stride + c * inner;
      for (size_t i = 0; i < inner; ++i) {
        sum += run[i];
        square += static_cast<double>(run[i]) * run[i];
        min = std::min(min, run[i]);
        max = std::max(max, run[i]);
      }
    }
    channels_->min[c] = min;
    channels_->max[c] = max;
    channels_->sum[c].Add(sum);
    channels_->square[c].Add(square);
  };
  // Several channels a piece: threads are not woken for little, and columns share cache lines.
  constexpr size_t kChannels = 64;
  const size_t groups = (layout.channels + kChannels - 1) / kChannels;
  const auto group = [&](size_t g) {
    const size_t end = std::min<size_t>(layout.channels, (g + 1) * kChannels);
    for (size_t c = g * kChannels; c < end; ++c) channel(c);
    return absl::OkStatus();
  };
  if (value.as<float>().size() < kPiece) {
    for (size_t g = 0; g < groups; ++g) group(g).IgnoreError();
  } else {
    pool.ParallelFor(groups, group).IgnoreError();
  }
  channels_->per_channel += layout.outer * layout.inner;
}

void Accumulator::AddGram(const Tensor& value, uint64_t feed, bool few_feeds, ThreadPool& pool,
                          std::string* problem) {
  const std::optional<GramShape> shape = GramShapeOf(*request_.gram, value.dims);
  if (!shape.has_value()) {
    *problem = FormatString("its shape {} does not fit the layout of the rows", Shape(value.dims));
    return;
  }
  if (fit_.empty()) {
    for (int64_t i = 0; i < shape->groups; ++i) {
      fit_.emplace_back(shape->size);
      held_back_.emplace_back(shape->size);
    }
  }
  if (fit_[0].size() != shape->size) {
    *problem = FormatString("its rows vary: {} long, then {}", fit_[0].size(), shape->size);
    return;
  }
  const bool held_back = feed % 5 == 4;
  if (few_feeds || !held_back) AddRows(*request_.gram, value, &fit_, pool);
  if (few_feeds || held_back) AddRows(*request_.gram, value, &held_back_, pool);
}

void Accumulator::Finish(bool gram_only, ValueStatistics* result) {
  if (!gram_only) {
    result->min = basic_.min;
    result->max = basic_.max;
    result->count = basic_.count;
    result->last_dims = basic_.last_dims;
    result->histogram = std::move(basic_.histogram);
    if (channels_.has_value()) {
      ChannelStatistics& channels = result->channels.emplace();
      channels.min = std::move(channels_->min);
      channels.max = std::move(channels_->max);
      const auto count = static_cast<double>(std::max<uint64_t>(1, channels_->per_channel));
      for (const ExactSum& sum : channels_->sum) channels.mean.push_back(sum.value() / count);
      for (const ExactSum& sum : channels_->square) {
        channels.mean_square.push_back(sum.value() / count);
      }
    }
  }
  if (!gather_gram_) return;
  // One after the other goes: at most one is there twice.
  for (auto [sums, grams] :
       {std::pair{&fit_, &result->fit}, std::pair{&held_back_, &result->held_back}}) {
    for (GramSum& sum : *sums) {
      grams->push_back(sum.Finish());
      sum = GramSum(0);
    }
  }
}

}  // namespace modelpress
