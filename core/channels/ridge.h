// Linear least squares with a ridge, from second moments alone.
//
// Rows are [x (K), y (N), 1]: what a layer reads after the cut, what it gave before, and 1. With G
// the mean over rows of their outer product, C = G - mu mu^T, and W0 the weight after the cut,
//
//   W = W0 + (C_xx + lambda I)^-1 (C_xy - C_xx W0)       b = mu_y - W^T mu_x
//
// is the W with the least |y - W^T x - b|^2 + lambda |W - W0|^2 over rows (ridge regression, Hoerl
// and Kennard 1970, drawn towards the cut weight instead of 0). lambda = damping * mean of the
// diagonal of C_xx. Any W is judged exactly on other rows by their G.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/job_context.h"

namespace modelpress {

struct RowMoments {
  size_t inputs = 0, outputs = 0;
  uint64_t rows = 0;
  // (K + N + 1)^2, both triangles, means over rows.
  std::vector<double> matrix;

  size_t size() const { return inputs + outputs + 1; }
  double At(size_t i, size_t j) const { return matrix[i * size() + j]; }
  // Mean over rows of the sum of y^2.
  double Signal() const;
};

struct LinearFit {
  std::vector<double> weight;  // K x N, row-major
  std::vector<double> bias;    // N
};

// Mean over rows of the sum of (y - W^T x - b)^2. O(K^2 N). Errors: cancellation.
absl::StatusOr<double> NoiseOf(const LinearFit& fit, const RowMoments& moments,
                               const JobContext& context);

// `start` holds W0 and the present bias. Without `with_bias` the bias stays, and moments are not
// centered. Nothing if the matrix is not positive definite, or not finite. O(K^3 + K^2 N). Errors:
// cancellation.
absl::StatusOr<std::optional<LinearFit>> SolveRidge(const RowMoments& moments,
                                                    const LinearFit& start, double damping,
                                                    bool with_bias, const JobContext& context);

// The same weight with the bias that makes the mean error 0.
LinearFit WithBestBias(const LinearFit& start, const RowMoments& moments);

}  // namespace modelpress
