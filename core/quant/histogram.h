// A histogram of floats whose result does not depend on the order in which values come.
//
// Bins are 2^e wide and their borders are the multiples of 2^e, so that two bins are exactly one
// bin of twice the width: when a larger value comes, e grows and pairs are folded, and every count
// ends where it would have gone had the largest value come first. Memory is fixed; histograms of
// parts can be merged.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/quant/affine.h"

namespace modelpress {

// Not thread-safe; values must be finite.
class Histogram {
 public:
  // Bins on each side of 0. The largest |x| lies in the outer half of them: at least 2048 bins
  // cover [0, max |x|].
  static constexpr int kSideBins = 4096;

  Histogram() : counts_(2 * kSideBins) {}

  void Add(std::span<const float> values);
  // The same for a caller who knows the values' range.
  void Add(std::span<const float> values, const ValueRange& range);
  void Merge(const Histogram& other);
  // As if values had been clamped to [low, high] (low <= 0 <= high), to the accuracy of a bin.
  Histogram Clamped(float low, float high) const;

  // Width of a bin.
  double width() const;
  // Values in [i * width, (i + 1) * width), -kSideBins <= i < kSideBins.
  uint64_t count(int i) const { return counts_[static_cast<size_t>(i + kSideBins)]; }
  // All values, and those that are exactly 0 (they are in bin 0 too).
  uint64_t total() const { return total_; }
  uint64_t zeros() const { return zeros_; }
  // Smallest and largest value and 0.
  float min() const { return min_; }
  float max() const { return max_; }

  bool operator==(const Histogram&) const = default;

 private:
  // Folds until values below 2^exponent in magnitude fit.
  void Widen(int exponent);

  // kSideBins bins reach up to 2^exponent_. This is the least: smaller values share the bins next
  // to 0 (the scale by which values are multiplied stays a normal float).
  static constexpr int kLeastExponent = -100;
  int exponent_ = kLeastExponent;
  std::vector<uint64_t> counts_;
  uint64_t total_ = 0;
  uint64_t zeros_ = 0;
  float min_ = 0;
  float max_ = 0;
};

}  // namespace modelpress
