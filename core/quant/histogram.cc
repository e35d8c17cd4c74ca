// Histograms that do not depend on order; see histogram.h.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/quant/histogram.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

#include "core/quant/histogram.h"

#include <algorithm>
#include <cmath>

#include "core/quant/range_kernels.h"

HWY_BEFORE_NAMESPACE();
namespace modelpress::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Counts into kCopies counters for each bin, next to each other: neighbours in memory go to
// different ones, as runs of equal values would otherwise wait for each other. Returns the number
// of exact zeros. `scale` is a power of two, so that the product is exact unless it underflows.
template <size_t kCopies, typename Counter>
uint64_t CountBins(const float* values, size_t count, float scale, Counter* counts) {
  const hn::ScalableTag<float> d;
  const hn::RebindToSigned<decltype(d)> di;
  const size_t lanes = hn::Lanes(d);
  constexpr size_t kBuffer = 512;
  HWY_ALIGN int32_t bins[kBuffer];
  const auto by = hn::Set(d, scale);
  const auto zero = hn::Zero(d);
  const auto below_zero = hn::Set(d, -1.0f);
  const auto offset = hn::Set(di, Histogram::kSideBins);
  uint64_t zeros = 0;
  for (size_t at = 0; at < count; at += kBuffer) {
    const size_t n = std::min(kBuffer, count - at);
    for (size_t i = 0; i < n; i += lanes) {
      const size_t m = std::min(lanes, n - i);
      const auto x = hn::LoadN(d, values + at + i, m);
      const auto floor = hn::Floor(hn::Mul(x, by));
      // A negative value whose product underflows to 0 is still below 0.
      const auto bin = hn::IfThenElse(hn::Lt(x, zero), hn::Min(floor, below_zero), floor);
      zeros += hn::CountTrue(d, hn::Eq(x, zero)) - (lanes - m);
      hn::StoreU(hn::Add(hn::ConvertTo(di, bin), offset), di, bins + i);
    }
    for (size_t i = 0; i < n; ++i) ++counts[kCopies * static_cast<size_t>(bins[i]) + i % kCopies];
  }
  return zeros;
}

uint64_t CountFew(const float* values, size_t count, float scale, uint64_t* counts) {
  return CountBins<1>(values, count, scale, counts);
}
uint64_t CountMany(const float* values, size_t count, float scale, uint32_t* counts) {
  return CountBins<2>(values, count, scale, counts);
}

}  // namespace modelpress::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace modelpress {
namespace {
HWY_EXPORT(CountFew);
HWY_EXPORT(CountMany);

// Values counted before 32-bit counters go to the 64-bit ones.
constexpr size_t kChunk = size_t{1} << 20;
// Up to so many values, adding up the 32-bit counters would cost more than they save.
constexpr size_t kFew = 32 * 1024;
constexpr int kSideBits = 12;
static_assert(1 << kSideBits == Histogram::kSideBins);

}  // namespace

void Histogram::Add(std::span<const float> values) {
  if (!values.empty()) Add(values, RangeOf(values.data(), values.size(), /*symmetric=*/false));
}

void Histogram::Add(std::span<const float> values, const ValueRange& range) {
  if (values.empty()) return;
  min_ = std::min(min_, range.min);
  max_ = std::max(max_, range.max);
  int exponent = kLeastExponent;
  if (const float largest = std::max(-range.min, range.max); largest > 0) {
    std::frexp(largest, &exponent);  // largest < 2^exponent
  }
  Widen(exponent);
  const float scale = std::ldexp(1.0f, kSideBits - exponent_);
  total_ += values.size();
  if (values.size() <= kFew) {
    zeros_ += HWY_DYNAMIC_DISPATCH(CountFew)(values.data(), values.size(), scale, counts_.data());
    return;
  }
  std::vector<uint32_t> counts(2 * counts_.size());
  for (size_t at = 0; at < values.size(); at += kChunk) {
    const size_t count = std::min(kChunk, values.size() - at);
    zeros_ += HWY_DYNAMIC_DISPATCH(CountMany)(values.data() + at, count, scale, counts.data());
    for (size_t i = 0; i < counts_.size(); ++i) {
      counts_[i] += uint64_t{counts[2 * i]} + counts[2 * i + 1];
    }
    if (at + count < values.size()) std::ranges::fill(counts, 0);
  }
}

void Histogram::Merge(const Histogram& other) {
  if (other.exponent_ > exponent_) Widen(other.exponent_);
  Histogram same = other;
  same.Widen(exponent_);
  for (size_t i = 0; i < counts_.size(); ++i) counts_[i] += same.counts_[i];
  total_ += other.total_;
  zeros_ += other.zeros_;
  min_ = std::min(min_, other.min_);
  max_ = std::max(max_, other.max_);
}

Histogram Histogram::Clamped(float low, float high) const {
  Histogram result = *this;
  result.min_ = std::max(min_, low);
  result.max_ = std::min(max_, high);
  const auto bin = [&](float edge) {
    return std::clamp(static_cast<int>(std::floor(edge / width())), -kSideBins, kSideBins - 1);
  };
  const int first = bin(result.min_), last = bin(result.max_);
  for (int i = -kSideBins; i < kSideBins; ++i) {
    if (i >= first && i <= last) continue;
    result.counts_[static_cast<size_t>((i < first ? first : last) + kSideBins)] += count(i);
    result.counts_[static_cast<size_t>(i + kSideBins)] = 0;
  }
  return result;
}

double Histogram::width() const { return std::ldexp(1.0, exponent_ - kSideBits); }

void Histogram::Widen(int exponent) {
  if (exponent <= exponent_) return;
  // After kSideBits + 1 foldings everything is in the two bins next to 0.
  const int shift = std::min(exponent - exponent_, kSideBits + 1);
  std::vector<uint64_t> folded(counts_.size());
  for (int i = -kSideBins; i < kSideBins; ++i) {
    folded[static_cast<size_t>((i >> shift) + kSideBins)] += count(i);
  }
  counts_ = std::move(folded);
  exponent_ = exponent;
}

}  // namespace modelpress
#endif  // HWY_ONCE
