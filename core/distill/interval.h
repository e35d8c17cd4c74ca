// Confidence intervals of what is counted on held-out samples.
//
// Each end of an interval is a one-sided bound: the truth lies below `low` with probability 1 - confidence, and above
// `high` with the same. Who accepts what `low` promises is wrong that often.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace modelpress {

struct Interval {
  double value = 0, low = 0, high = 0;
};

// z with Phi(z) = confidence; 0.5 <= confidence < 1.
double OneSidedZ(double confidence);

// Wilson's score interval of a share seen in so many samples, which need be no whole number (Wilson 1927).
Interval WilsonInterval(double share, double samples, double z);

// For each sample a sum over its positions, and how many positions: a share is sum / of, both over all samples. Samples
// with one position are the usual case; positions of the same sample are not taken as independent.
struct Tally {
  std::vector<double> sum, of;
  // The kind of each sample, from 0; see PredictionPoweredShare.
  std::vector<uint32_t> kind;

  void Add(double s, double n, uint32_t k = 0) {
    sum.push_back(s);
    of.push_back(n);
    kind.push_back(k);
  }
  size_t size() const { return sum.size(); }
  // 0 where there is nothing.
  double Share() const;
};

// A share of labelled samples, made narrower by what is known of the unlabelled ones (prediction-powered inference:
// Angelopoulos et al. 2023; lambda that gives the least variance, between 0 and 1: Angelopoulos, Duchi, Zrnic 2023,
// PPI++):
//   value = mean of Y - lambda (F - F_k) over labelled samples
//   variance = var(Y - lambda (F - F_k)) / n + lambda^2 sum over k of (n_k / n)^2 var(F_k) / N_k
// Y: right, F: decides as the teacher; F_k: how often it does so on unlabelled samples of the same kind. With one kind that
// is Y_l + lambda (F_u - F_l). Kinds make it hold where unlabelled samples are easier than labelled ones, or harder, as
// long as those of one kind are alike (post-stratification). Every kind of a labelled sample must be among the unlabelled
// ones. The interval is Wilson's for as many samples as would give that variance. Variances are those with half a sample
// more of each sort that F does not explain (right but unlike the teacher; wrong but like it), so that few samples without
// an error do not look like certainty (Agresti and Min 2005, of paired shares).
Interval PredictionPoweredShare(const Tally& right, const Tally& agree,
                                const Tally& agree_unlabelled, double z);

// The same of a difference in [-1, 1], student right minus teacher right. Each end has one sample more that differs in
// its direction; and the difference is no larger than the share that is decided otherwise.
Interval PredictionPoweredDifference(const Tally& difference, const Tally& agree,
                                     const Tally& agree_unlabelled, double z);

// A mean that is no share, by its standard error; few samples are taken for what they are by the variance of Student's t.
Interval MeanInterval(const Tally& tally, double z);

// A statistic of all samples, by the jackknife: `without(i)` is it with sample i left out. `is_share`: between 0 and 1.
Interval JackknifeInterval(double value, size_t samples,
                           const std::function<double(size_t)>& without, bool is_share, double z);

}  // namespace modelpress
