// Confidence intervals: see interval.h.
#include "core/distill/interval.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numbers>
#include <numeric>

namespace modelpress {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

double Sum(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}

// Whether every sample has one position, which counts or does not.
bool IsPlain(const Tally& tally, double least) {
  for (size_t i = 0; i < tally.size(); ++i) {
    if (tally.of[i] != 1) return false;
    if (tally.sum[i] != 0 && tally.sum[i] != 1 && tally.sum[i] != least) return false;
  }
  return true;
}

// How much each sample moves the share: (sum - share of) / mean(of).
std::vector<double> Influence(const Tally& tally) {
  const double share = tally.Share();
  const double mean = Sum(tally.of) / static_cast<double>(std::max<size_t>(1, tally.size()));
  std::vector<double> influence(tally.size());
  for (size_t i = 0; i < tally.size(); ++i) {
    influence[i] = mean > 0 ? (tally.sum[i] - share * tally.of[i]) / mean : 0;
  }
  return influence;
}

// Covariance; the last `halves` count half.
double Covariance(const std::vector<double>& a, const std::vector<double>& b, size_t halves = 0) {
  double mean_a = 0, mean_b = 0, product = 0;
  const double n = std::max(1.0, static_cast<double>(a.size()) - static_cast<double>(halves) / 2);
  for (size_t i = 0; i < a.size(); ++i) {
    const double weight = (i + halves < a.size() ? 1 : 0.5) / n;
    mean_a += weight * a[i];
    mean_b += weight * b[i];
    product += weight * a[i] * b[i];
  }
  return product - mean_a * mean_b;
}

// What unlabelled samples say of the labelled ones.
struct Expectation {
  // Of each labelled sample, how much more it agrees than unlabelled ones of its kind do, by mean(of).
  std::vector<double> surplus;
  // The mean of what is expected, by position.
  double mean = 0;
  // N times the variance of that mean.
  double spread = 0;
  double unlabelled = 0;
};

Expectation Expect(const Tally& agree, const Tally& unlabelled, bool plain) {
  Expectation result{.unlabelled = static_cast<double>(unlabelled.size())};
  if (unlabelled.size() == 0) {
    result.surplus = Influence(agree);
    result.mean = agree.Share();
    return result;
  }
  struct Kind {
    Tally samples;
    double labelled = 0;
  };
  std::map<uint32_t, Kind> kinds;
  for (size_t i = 0; i < unlabelled.size(); ++i) {
    kinds[unlabelled.kind[i]].samples.Add(unlabelled.sum[i], unlabelled.of[i]);
  }
  for (size_t i = 0; i < agree.size(); ++i) kinds[agree.kind[i]].labelled += agree.of[i];
  const double positions = Sum(agree.of);
  for (auto& [number, kind] : kinds) {
    const auto here = static_cast<double>(kind.samples.size());
    if (kind.labelled == 0 || here == 0) continue;
    const double weight = kind.labelled / positions;
    double variance;
    if (plain) {
      // All kinds together have as many more as one alone would have.
      const double more = 1 / static_cast<double>(kinds.size());
      const double share = (Sum(kind.samples.sum) + more) / (here + 2 * more);
      variance = share * (1 - share);
    } else {
      const std::vector<double> influence = Influence(kind.samples);
      variance = Covariance(influence, influence);
    }
    result.mean += weight * kind.samples.Share();
    result.spread += weight * weight * variance * result.unlabelled / here;
  }
  const double mean_of = positions / static_cast<double>(std::max<size_t>(1, agree.size()));
  for (size_t i = 0; i < agree.size(); ++i) {
    const double expected = kinds[agree.kind[i]].samples.Share();
    result.surplus.push_back((agree.sum[i] - expected * agree.of[i]) / mean_of);
  }
  return result;
}

// By how much a variance that was estimated from n samples is too small a guide: that of Student's t. Infinite below 4.
double FewSamples(size_t n) {
  return n < 4 ? kInfinity : static_cast<double>(n) / static_cast<double>(n - 3);
}

struct Powered {
  double lambda = 0, variance = 0;
};

// lambda and the variance of Y - lambda F, from values of each labelled sample (F: surplus) and the spread of what is
// expected of F.
Powered PowerTuned(const std::vector<double>& y, const std::vector<double>& f, double labelled,
                   double unlabelled_variance, double unlabelled, size_t halves = 0) {
  const double vy = Covariance(y, y, halves), vf = Covariance(f, f, halves);
  const double both = Covariance(y, f, halves);
  Powered result{.variance = vy / labelled};
  if (unlabelled == 0) return result;
  const double spread = vf + unlabelled_variance * labelled / unlabelled;
  if (!(spread > 0)) return result;
  const double lambda = std::clamp(both / spread, 0.0, 1.0);
  result.lambda = lambda;
  result.variance = (vy - 2 * lambda * both + lambda * lambda * vf) / labelled +
                    lambda * lambda * unlabelled_variance / unlabelled;
  return result;
}

// Wilson's interval for as many samples as give the variance.
Interval ByVariance(double share, double positions, double variance, double most, double z) {
  const double smooth = (share * positions + 0.5) / (positions + 1);
  const double samples = smooth * (1 - smooth) / variance;
  return WilsonInterval(share, std::clamp(samples, 1e-9, most), z);
}

}  // namespace

double Tally::Share() const {
  const double all = Sum(of);
  return all > 0 ? Sum(sum) / all : 0;
}

double OneSidedZ(double confidence) {
  double low = 0, high = 40;
  for (int step = 0; step < 200; ++step) {
    const double middle = (low + high) / 2;
    const bool below = 1 - 0.5 * std::erfc(middle / std::numbers::sqrt2) < confidence;
    (below ? low : high) = middle;
  }
  return confidence <= 0.5 ? 0 : (low + high) / 2;
}

Interval WilsonInterval(double share, double samples, double z) {
  if (!(samples > 0)) return {share, 0, 1};
  const double zz = z * z / samples;
  const double middle = (share + zz / 2) / (1 + zz);
  const double half = z / (1 + zz) * std::sqrt(share * (1 - share) / samples + zz / (4 * samples));
  return {share, std::clamp(middle - half, 0.0, share), std::clamp(middle + half, share, 1.0)};
}

Interval PredictionPoweredShare(const Tally& right, const Tally& agree,
                                const Tally& agree_unlabelled, double z) {
  const auto n = static_cast<double>(right.size());
  if (n == 0) return {0, 0, 1};
  const bool plain = IsPlain(right, 0) && IsPlain(agree, 0) && IsPlain(agree_unlabelled, 0);
  const Expectation expected = Expect(agree, agree_unlabelled, plain);
  std::vector<double> y = Influence(right), f = expected.surplus;
  if (plain) {
    const double mean_y = right.Share();
    y.insert(y.end(), {1 - mean_y, 0 - mean_y});
    f.insert(f.end(), {0 - expected.mean, 1 - expected.mean});
  }
  const Powered powered = PowerTuned(y, f, n, expected.spread, expected.unlabelled, plain ? 2 : 0);
  const double moved = expected.mean - agree.Share();
  const double value = std::clamp(right.Share() + powered.lambda * moved, 0.0, 1.0);
  if (plain) return ByVariance(value, n, powered.variance, n + expected.unlabelled, z);
  const double few = FewSamples(right.size());
  if (!std::isfinite(few)) return {value, 0, 1};
  const double positions = Sum(right.of);
  const double smooth = (value * positions + 1) / (positions + 2);
  const double variance = std::max(powered.variance * few, smooth * (1 - smooth) / positions);
  return ByVariance(value, positions, variance, positions, z);
}

Interval PredictionPoweredDifference(const Tally& difference, const Tally& agree,
                                     const Tally& agree_unlabelled, double z) {
  const auto n = static_cast<double>(difference.size());
  if (n == 0) return {0, -1, 1};
  const bool plain = IsPlain(difference, -1) && IsPlain(agree, 0) && IsPlain(agree_unlabelled, 0);
  // The largest share of samples that the student may decide otherwise.
  const double most = 1 - PredictionPoweredShare(agree, agree, agree_unlabelled, z).low;
  const Expectation expected = Expect(agree, agree_unlabelled, plain);
  const double moved = expected.mean - agree.Share();
  const std::vector<double> y = Influence(difference);
  const Powered powered = PowerTuned(y, expected.surplus, n, expected.spread, expected.unlabelled);
  Interval result;
  result.value = std::clamp(difference.Share() + powered.lambda * moved, -most, most);
  if (plain) {
    // One more sample that differs this way and that the teacher decides otherwise.
    const auto end = [&](double direction) {
      std::vector<double> ys = difference.sum, fs = expected.surplus;
      ys.push_back(direction);
      fs.push_back(0 - expected.mean);
      const Powered more = PowerTuned(ys, fs, n + 1, expected.spread, expected.unlabelled);
      return Sum(ys) / (n + 1) - more.lambda * Sum(fs) / (n + 1) +
             direction * z * std::sqrt(std::max(0.0, more.variance));
    };
    result.low = end(-1);
    result.high = end(1);
  } else {
    const double few = FewSamples(difference.size());
    const double half =
        std::isfinite(few) && powered.variance > 0 ? z * std::sqrt(powered.variance * few) : most;
    result.low = result.value - half;
    result.high = result.value + half;
  }
  result.low = std::min(std::max(result.low, -most), result.value);
  result.high = std::max(std::min(result.high, most), result.value);
  return result;
}

Interval MeanInterval(const Tally& tally, double z) {
  const double value = tally.Share();
  const double few = FewSamples(tally.size());
  if (!std::isfinite(few)) return {value, -kInfinity, kInfinity};
  const std::vector<double> influence = Influence(tally);
  const auto n = static_cast<double>(tally.size());
  double error = std::sqrt(std::max(0.0, Covariance(influence, influence)) * few / n);
  // A value that never varied in n samples is taken to vary by an n-th of itself.
  error = std::max(error, std::abs(value) / n);
  return {value, value - z * error, value + z * error};
}

Interval JackknifeInterval(double value, size_t samples,
                           const std::function<double(size_t)>& without, bool is_share, double z) {
  const auto n = static_cast<double>(samples);
  if (samples < 2) return {value, is_share ? 0 : -kInfinity, is_share ? 1 : kInfinity};
  std::vector<double> values(samples);
  for (size_t i = 0; i < samples; ++i) values[i] = without(i);
  const double variance = (n - 1) * std::max(0.0, Covariance(values, values));
  if (!is_share) {
    const double error = std::max(std::sqrt(variance), 1 / n);
    return {value, value - z * error, value + z * error};
  }
  if (!(variance > 0)) return WilsonInterval(value, n, z);
  return ByVariance(value, n, variance, n, z);
}

}  // namespace modelpress
