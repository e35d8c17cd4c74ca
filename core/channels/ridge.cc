// Ridge regression from moments; see ridge.h.
#include "core/channels/ridge.h"

#include <algorithm>
#include <cmath>

#include "core/base/status.h"
#include "core/quant/cholesky.h"

namespace modelpress {
namespace {

// Columns of the weight that one piece of work takes on.
constexpr size_t kColumns = 32;

size_t Pieces(size_t columns) { return (columns + kColumns - 1) / kColumns; }

// product[k][n] = sum over j of matrix[k][j] weight[j][n] for the columns of one piece.
void Multiply(const RowMoments& moments, const std::vector<double>& weight, size_t first,
              size_t count, std::vector<double>& product) {
  const size_t inputs = moments.inputs, outputs = moments.outputs;
  product.assign(inputs * count, 0);
  for (size_t k = 0; k < inputs; ++k) {
    double* to = product.data() + k * count;
    for (size_t j = 0; j < inputs; ++j) {
      const double factor = moments.At(k, j);
      const double* from = weight.data() + j * outputs + first;
      for (size_t n = 0; n < count; ++n) to[n] += factor * from[n];
    }
  }
}

}  // namespace

double RowMoments::Signal() const {
  double signal = 0;
  for (size_t n = 0; n < outputs; ++n) signal += At(inputs + n, inputs + n);
  return signal;
}

absl::StatusOr<double> NoiseOf(const LinearFit& fit, const RowMoments& moments,
                               const JobContext& context) {
  const size_t inputs = moments.inputs, outputs = moments.outputs, one = moments.size() - 1;
  std::vector<double> noise(outputs);
  MP_RETURN_IF_ERROR(context.pool->ParallelFor(Pieces(outputs), [&](size_t piece) -> absl::Status {
    MP_RETURN_IF_ERROR(context.cancellation->Check());
    const size_t first = piece * kColumns, count = std::min(kColumns, outputs - first);
    std::vector<double> product;
    Multiply(moments, fit.weight, first, count, product);
    for (size_t n = 0; n < count; ++n) {
      const size_t column = first + n, y = inputs + column;
      const double bias = fit.bias[column];
      double sum = moments.At(y, y) - 2 * bias * moments.At(y, one) + bias * bias;
      for (size_t k = 0; k < inputs; ++k) {
        const double w = fit.weight[k * outputs + column];
        sum += w * (product[k * count + n] - 2 * moments.At(k, y) + 2 * bias * moments.At(k, one));
      }
      noise[column] = std::max(0.0, sum);
    }
    return absl::OkStatus();
  }));
  double total = 0;
  for (const double value : noise) total += value;
  return total;
}

LinearFit WithBestBias(const LinearFit& start, const RowMoments& moments) {
  LinearFit fit = start;
  const size_t inputs = moments.inputs, outputs = moments.outputs, one = moments.size() - 1;
  for (size_t n = 0; n < outputs; ++n) fit.bias[n] = moments.At(inputs + n, one);
  for (size_t k = 0; k < inputs; ++k) {
    for (size_t n = 0; n < outputs; ++n) {
      fit.bias[n] -= fit.weight[k * outputs + n] * moments.At(k, one);
    }
  }
  return fit;
}

absl::StatusOr<std::optional<LinearFit>> SolveRidge(const RowMoments& moments,
                                                    const LinearFit& start, double damping,
                                                    bool with_bias, const JobContext& context) {
  const size_t inputs = moments.inputs, outputs = moments.outputs, one = moments.size() - 1;
  const auto covariance = [&](size_t i, size_t j) {
    return moments.At(i, j) - (with_bias ? moments.At(i, one) * moments.At(j, one) : 0);
  };
  std::vector<double> matrix(inputs * inputs);
  double diagonal = 0;
  for (size_t i = 0; i < inputs; ++i) {
    for (size_t j = 0; j <= i; ++j) matrix[i * inputs + j] = covariance(i, j);
    diagonal += std::max(0.0, covariance(i, i));
  }
  if (!(diagonal > 0) || !std::isfinite(diagonal)) return std::nullopt;
  const double lambda = damping * diagonal / static_cast<double>(inputs);
  for (size_t i = 0; i < inputs; ++i) matrix[i * inputs + i] += lambda;
  MP_ASSIGN_OR_RETURN(const bool factored, Cholesky(matrix, inputs, context));
  if (!factored) return std::nullopt;
  LinearFit fit = start;
  MP_RETURN_IF_ERROR(context.pool->ParallelFor(Pieces(outputs), [&](size_t piece) -> absl::Status {
    MP_RETURN_IF_ERROR(context.cancellation->Check());
    const size_t first = piece * kColumns, count = std::min(kColumns, outputs - first);
    // What the cut weight leaves of the covariance with y.
    std::vector<double> rest(inputs * count);
    for (size_t k = 0; k < inputs; ++k) {
      double* to = rest.data() + k * count;
      for (size_t n = 0; n < count; ++n) to[n] = covariance(k, inputs + first + n);
      for (size_t j = 0; j < inputs; ++j) {
        const double factor = covariance(k, j);
        const double* from = start.weight.data() + j * outputs + first;
        for (size_t n = 0; n < count; ++n) to[n] -= factor * from[n];
      }
    }
    // L z = rest, then L^T d = z, in place.
    for (size_t i = 0; i < inputs; ++i) {
      double* row = rest.data() + i * count;
      for (size_t j = 0; j < i; ++j) {
        const double factor = matrix[i * inputs + j];
        const double* other = rest.data() + j * count;
        for (size_t n = 0; n < count; ++n) row[n] -= factor * other[n];
      }
      for (size_t n = 0; n < count; ++n) row[n] /= matrix[i * inputs + i];
    }
    for (size_t i = inputs; i-- > 0;) {
      double* row = rest.data() + i * count;
      for (size_t n = 0; n < count; ++n) row[n] /= matrix[i * inputs + i];
      for (size_t j = 0; j < i; ++j) {
        const double factor = matrix[i * inputs + j];
        double* other = rest.data() + j * count;
        for (size_t n = 0; n < count; ++n) other[n] -= factor * row[n];
      }
    }
    for (size_t k = 0; k < inputs; ++k) {
      for (size_t n = 0; n < count; ++n) {
        fit.weight[k * outputs + first + n] += rest[k * count + n];
      }
    }
    return absl::OkStatus();
  }));
  if (std::ranges::any_of(fit.weight, [](double w) { return !std::isfinite(w); })) {
    return std::nullopt;
  }
  return with_bias ? WithBestBias(fit, moments) : fit;
}

}  // namespace modelpress
