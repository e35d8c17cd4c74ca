// Ranges from histograms; see choose_range.h.
#include "core/quant/choose_range.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace modelpress {
namespace {

constexpr int kSide = Histogram::kSideBins;

// Number of |x| in [i, i + 1) bin widths. Not those that are 0, which every grid holds exactly: behind a Relu they are most
// of all, and would hide what happens to the others.
std::vector<double> Magnitudes(const Histogram& histogram) {
  std::vector<double> counts(kSide);
  for (int i = 0; i < kSide; ++i) {
    counts[i] = static_cast<double>(histogram.count(i) + histogram.count(-i - 1));
  }
  counts[0] -= static_cast<double>(histogram.zeros());
  return counts;
}

ValueRange Within(const Histogram& histogram, double low, double high) {
  return {std::max(histogram.min(), static_cast<float>(low)),
          std::min(histogram.max(), static_cast<float>(high)), true};
}

ValueRange Percentile(const Histogram& histogram, const RangeRule& rule) {
  const double total = static_cast<double>(histogram.total());
  const double outside = (100 - rule.percentile) / 100 * total;
  if (rule.symmetric) {
    double left = outside;
    int i = kSide - 1;
    for (; i > 0; --i) {
      left -= static_cast<double>(histogram.count(i) + histogram.count(-i - 1));
      if (left < 0) break;
    }
    const double edge = (i + 1) * histogram.width();
    return Within(histogram, -edge, edge);
  }
  double left = outside / 2;
  int high = kSide - 1;
  for (; high > 0; --high) {
    left -= static_cast<double>(histogram.count(high));
    if (left < 0) break;
  }
  left = outside / 2;
  int low = -kSide;
  for (; low < 0; ++low) {
    left -= static_cast<double>(histogram.count(low));
    if (left < 0) break;
  }
  return Within(histogram, low * histogram.width(), (high + 1) * histogram.width());
}

// KL divergence of the first `bins` bins, the rest in the last one, from the same at `levels`
// levels.
double Divergence(const std::vector<double>& counts, int bins, double outside, double total,
                  int levels) {
  // Stands for an empty level where P has values.
  constexpr double kSmallest = 1e-9;
  double inside = total - outside;
  if (inside <= 0) return std::numeric_limits<double>::infinity();
  double divergence = 0;
  for (int level = 0; level < levels; ++level) {
    const int begin = static_cast<int>(static_cast<int64_t>(level) * bins / levels);
    const int end = static_cast<int>(static_cast<int64_t>(level + 1) * bins / levels);
    double mass = 0;
    int filled = 0;
    for (int i = begin; i < end; ++i) {
      mass += counts[i];
      filled += counts[i] > 0 ? 1 : 0;
    }
    const double spread = filled > 0 ? mass / filled / inside : 0;
    for (int i = begin; i < end; ++i) {
      const double p = (counts[i] + (i == bins - 1 ? outside : 0)) / total;
      if (p > 0) divergence += p * std::log(p / std::max(counts[i] > 0 ? spread : 0, kSmallest));
    }
  }
  return divergence;
}

ValueRange Entropy(const Histogram& histogram, const RangeRule& rule) {
  const std::vector<double> counts = Magnitudes(histogram);
  const bool one_sided = !rule.symmetric && (histogram.min() >= 0 || histogram.max() <= 0);
  const int levels = one_sided ? rule.steps + 1 : (rule.steps + 1) / 2;
  int used = kSide;
  while (used > 0 && counts[used - 1] == 0) --used;
  const double total = static_cast<double>(histogram.total() - histogram.zeros());
  // Thresholds that lie closer together differ by less than half a percent.
  constexpr int kStride = 8;
  double outside = 0, best = std::numeric_limits<double>::infinity();
  int best_bins = used;
  int bins = used;
  while (bins >= levels) {
    const double divergence = Divergence(counts, bins, outside, total, levels);
    if (divergence < best) {
      best = divergence;
      best_bins = bins;
    }
    for (int i = 0; i < kStride && bins > 0; ++i) outside += counts[--bins];
  }
  const double edge = best_bins * histogram.width();
  return Within(histogram, -edge, edge);
}

// Sums over the bins of one side, outermost first, for the error of clipping at a bin's border.
class Side {
 public:
  // `sign` 1 or -1.
  Side(const Histogram& histogram, int sign)
      : count_(kSide + 1), sum_(kSide + 1), square_(kSide + 1) {
    for (int i = kSide - 1; i >= 0; --i) {
      const double n = static_cast<double>(histogram.count(sign > 0 ? i : -i - 1));
      const double x = (i + 0.5) * histogram.width();
      count_[i] = count_[i + 1] + n;
      sum_[i] = sum_[i + 1] + n * x;
      square_[i] = square_[i + 1] + n * x * x;
    }
  }
  // Values at least `border` bins from 0, and what clipping them to `edge` costs.
  double Beyond(int border) const { return count_[border]; }
  double Clipping(int border, double edge) const {
    return std::max(0.0, square_[border] - 2 * edge * sum_[border] + edge * edge * count_[border]);
  }
  double Signal() const { return square_[0]; }

 private:
  std::vector<double> count_, sum_, square_;
};

// Expected squared error of grids over one histogram.
class SquaredError {
 public:
  explicit SquaredError(const Histogram& histogram)
      : histogram_(histogram), negative_(histogram, -1), positive_(histogram, 1) {}

  double Of(double low, double high, int steps) const {
    const int below = Border(-low), above = Border(high);
    const double step = (high - low) / steps;
    const double inside = static_cast<double>(histogram_.total() - histogram_.zeros()) -
                          negative_.Beyond(below) - positive_.Beyond(above);
    return std::max(0.0, inside) * step * step / 12 + negative_.Clipping(below, -low) +
           positive_.Clipping(above, high);
  }
  double Signal() const { return negative_.Signal() + positive_.Signal(); }

 private:
  int Border(double edge) const {
    return std::clamp(static_cast<int>(std::ceil(edge / histogram_.width())), 0, kSide);
  }
  const Histogram& histogram_;
  Side negative_, positive_;
};

ValueRange LeastSquares(const Histogram& histogram, const RangeRule& rule) {
  constexpr int kParts = 100, kFewest = 5;  // edges from 5 % to 100 % of what was observed
  const SquaredError error(histogram);
  const double min = histogram.min(), max = histogram.max();
  double best = std::numeric_limits<double>::infinity(), low = min, high = max;
  const auto attempt = [&](double a, double b) {
    if (const double e = error.Of(a, b, rule.steps); e < best) {
      best = e;
      low = a;
      high = b;
    }
  };
  // From the full range down, so that the widest of equals wins.
  if (rule.symmetric) {
    const double largest = std::max(-min, max);
    for (int i = kParts; i >= kFewest; --i) {
      const double edge = largest * i / kParts;
      attempt(-edge, edge);
    }
    return Within(histogram, low, high);
  }
  for (int i = kParts; i >= kFewest; --i) {
    for (int j = kParts; j >= kFewest; --j) {
      attempt(min * i / kParts, max * j / kParts);
      if (max <= 0) break;
    }
    if (min >= 0) break;
  }
  return Within(histogram, low, high);
}

}  // namespace

ValueRange ChooseRange(const Histogram& histogram, const RangeRule& rule) {
  const ValueRange everything = {histogram.min(), histogram.max(), true};
  if (histogram.total() == 0 || everything.min == everything.max) return everything;
  switch (rule.method) {
    case RangeMethod::kMinMax:
      return everything;
    case RangeMethod::kPercentile:
      return Percentile(histogram, rule);
    case RangeMethod::kEntropy:
      return Entropy(histogram, rule);
    case RangeMethod::kMse:
      return LeastSquares(histogram, rule);
  }
  return everything;
}

double ClippedShare(const Histogram& histogram, const ValueRange& range) {
  if (histogram.total() == 0) return 0;
  uint64_t outside = 0;
  for (int i = -kSide; i < kSide; ++i) {
    const double begin = i * histogram.width(), end = (i + 1) * histogram.width();
    if (end < range.min || begin > range.max) outside += histogram.count(i);
  }
  return static_cast<double>(outside) / static_cast<double>(histogram.total());
}

double ExpectedSqnrDb(const Histogram& histogram, const ValueRange& range, int steps) {
  const SquaredError error(histogram);
  const double noise = error.Of(range.min, range.max, steps);
  if (noise <= 0) return std::numeric_limits<double>::infinity();
  return 10 * std::log10(error.Signal() / noise);
}

}  // namespace modelpress
