// Ridge regression against plain normal equations, and rows against plain loops.
#include "core/channels/ridge.h"

#include <cmath>
#include <random>

#include "core/channels/row_sums.h"
#include "gtest/gtest.h"
#include "tests/support/test_job.h"

namespace modelpress {
namespace {

using testing::TestJob;

struct Rows {
  std::vector<std::vector<double>> x, y;
};

Rows RandomRows(std::mt19937& random, size_t count, size_t inputs, size_t outputs) {
  std::normal_distribution<double> normal;
  Rows rows;
  std::vector<std::vector<double>> mix(inputs, std::vector<double>(outputs));
  for (auto& row : mix) {
    for (double& value : row) value = normal(random);
  }
  for (size_t r = 0; r < count; ++r) {
    std::vector<double> x(inputs), y(outputs);
    for (double& value : x) value = 0.5 + normal(random);
    for (size_t n = 0; n < outputs; ++n) {
      y[n] = 0.3 * normal(random) + static_cast<double>(n);
      for (size_t k = 0; k < inputs; ++k) y[n] += x[k] * mix[k][n];
    }
    rows.x.push_back(x);
    rows.y.push_back(y);
  }
  return rows;
}

RowMoments MomentsOf(const Rows& rows) {
  RowMoments moments{rows.x[0].size(), rows.y[0].size(), rows.x.size(), {}};
  moments.matrix.resize(moments.size() * moments.size());
  for (size_t r = 0; r < rows.x.size(); ++r) {
    std::vector<double> row = rows.x[r];
    row.insert(row.end(), rows.y[r].begin(), rows.y[r].end());
    row.push_back(1);
    for (size_t i = 0; i < row.size(); ++i) {
      for (size_t j = 0; j < row.size(); ++j) {
        moments.matrix[i * row.size() + j] += row[i] * row[j] / static_cast<double>(rows.x.size());
      }
    }
  }
  return moments;
}

double PlainNoise(const LinearFit& fit, const Rows& rows) {
  double noise = 0;
  const size_t outputs = rows.y[0].size();
  for (size_t r = 0; r < rows.x.size(); ++r) {
    for (size_t n = 0; n < outputs; ++n) {
      double error = rows.y[r][n] - fit.bias[n];
      for (size_t k = 0; k < rows.x[r].size(); ++k) {
        error -= fit.weight[k * outputs + n] * rows.x[r][k];
      }
      noise += error * error;
    }
  }
  return noise / static_cast<double>(rows.x.size());
}

// Gaussian elimination with pivoting of A z = b.
std::vector<double> Solve(std::vector<std::vector<double>> a, std::vector<double> b) {
  const size_t n = b.size();
  for (size_t c = 0; c < n; ++c) {
    size_t pivot = c;
    for (size_t r = c; r < n; ++r) {
      if (std::abs(a[r][c]) > std::abs(a[pivot][c])) pivot = r;
    }
    std::swap(a[c], a[pivot]);
    std::swap(b[c], b[pivot]);
    for (size_t r = 0; r < n; ++r) {
      if (r == c) continue;
      const double factor = a[r][c] / a[c][c];
      for (size_t k = c; k < n; ++k) a[r][k] -= factor * a[c][k];
      b[r] -= factor * b[c];
    }
  }
  for (size_t c = 0; c < n; ++c) b[c] /= a[c][c];
  return b;
}

TEST(RidgeTest, MatchesTheNormalEquations) {
  for (const unsigned seed : {1u, 2u, 3u}) {
    std::mt19937 random(seed);
    SCOPED_TRACE("seed " + std::to_string(seed));
    const size_t inputs = 3 + seed * 2, outputs = 4;
    const Rows rows = RandomRows(random, 60, inputs, outputs);
    const RowMoments moments = MomentsOf(rows);
    LinearFit start;
    std::normal_distribution<double> normal;
    for (size_t i = 0; i < inputs * outputs; ++i) start.weight.push_back(normal(random));
    start.bias.assign(outputs, 0);
    constexpr double kDamping = 0.07;
    TestJob job;
    const auto fit = SolveRidge(moments, start, kDamping, true, job.context());
    ASSERT_TRUE(fit.ok() && fit->has_value());
    // Centered rows; (X^T X / R + lambda) D = X^T (Y - X W0) / R.
    std::vector<double> mean_x(inputs), mean_y(outputs);
    const auto count = static_cast<double>(rows.x.size());
    for (size_t r = 0; r < rows.x.size(); ++r) {
      for (size_t k = 0; k < inputs; ++k) mean_x[k] += rows.x[r][k] / count;
      for (size_t n = 0; n < outputs; ++n) mean_y[n] += rows.y[r][n] / count;
    }
    double diagonal = 0;
    std::vector<std::vector<double>> a(inputs, std::vector<double>(inputs));
    for (size_t r = 0; r < rows.x.size(); ++r) {
      for (size_t i = 0; i < inputs; ++i) {
        for (size_t j = 0; j < inputs; ++j) {
          a[i][j] += (rows.x[r][i] - mean_x[i]) * (rows.x[r][j] - mean_x[j]) / count;
        }
      }
    }
    for (size_t i = 0; i < inputs; ++i) diagonal += a[i][i] / static_cast<double>(inputs);
    for (size_t i = 0; i < inputs; ++i) a[i][i] += kDamping * diagonal;
    for (size_t n = 0; n < outputs; ++n) {
      std::vector<double> b(inputs);
      for (size_t r = 0; r < rows.x.size(); ++r) {
        double rest = rows.y[r][n] - mean_y[n];
        for (size_t k = 0; k < inputs; ++k) {
          rest -= start.weight[k * outputs + n] * (rows.x[r][k] - mean_x[k]);
        }
        for (size_t k = 0; k < inputs; ++k) b[k] += (rows.x[r][k] - mean_x[k]) * rest / count;
      }
      const std::vector<double> d = Solve(a, b);
      double bias = mean_y[n];
      for (size_t k = 0; k < inputs; ++k) {
        const double expected = start.weight[k * outputs + n] + d[k];
        EXPECT_NEAR((*fit)->weight[k * outputs + n], expected, 1e-9);
        bias -= expected * mean_x[k];
      }
      EXPECT_NEAR((*fit)->bias[n], bias, 1e-9);
    }
    const auto noise = NoiseOf(**fit, moments, job.context());
    ASSERT_TRUE(noise.ok());
    EXPECT_NEAR(*noise, PlainNoise(**fit, rows), 1e-9);
    EXPECT_LT(*noise, PlainNoise(WithBestBias(start, moments), rows));
    EXPECT_LT(PlainNoise(WithBestBias(start, moments), rows), PlainNoise(start, rows));
  }
}

Tensor RandomTensor(std::mt19937& random, std::vector<int64_t> dims) {
  std::span<std::byte> bytes;
  auto tensor = Tensor::Make(DataType::kFloat, std::move(dims), &bytes);
  EXPECT_TRUE(tensor.ok());
  std::normal_distribution<float> normal;
  auto* values = reinterpret_cast<float*>(bytes.data());
  for (size_t i = 0; i < bytes.size() / sizeof(float); ++i) values[i] = normal(random);
  return *std::move(tensor);
}

// Patches of a convolution in two groups with padding, stride and dilation, by plain loops.
TEST(RowSumsTest, PatchesOfAConvolution) {
  std::mt19937 random(5);
  RowLayout layout{.kind = RowLayout::Kind::kConv, .groups = 2, .inputs = 2 * 6, .outputs = 1};
  layout.y_channels = {1, 4};
  layout.kernel = {3, 2};
  layout.strides = {2, 1};
  layout.dilations = {1, 2};
  layout.pads = {1, 0, 1, 2};
  const Tensor x = RandomTensor(random, {2, 4, 7, 5});
  const Tensor y = RandomTensor(random, {2, 6, 4, 5});
  TestJob job(2);
  RowSums sums(layout);
  ASSERT_TRUE(sums.Add(x, y, 0, 1000, *job.context().pool));
  EXPECT_EQ(sums.rows(), 2u * 4 * 5);
  for (size_t group = 0; group < 2; ++group) {
    Rows rows;
    for (int n = 0; n < 2; ++n) {
      for (int oy = 0; oy < 4; ++oy) {
        for (int ox = 0; ox < 5; ++ox) {
          std::vector<double> patch;
          for (int c = 0; c < 2; ++c) {
            for (int ky = 0; ky < 3; ++ky) {
              for (int kx = 0; kx < 2; ++kx) {
                const int iy = oy * 2 + ky - 1, ix = ox + kx * 2;
                const bool inside = iy >= 0 && iy < 7 && ix < 5;
                const size_t at = static_cast<size_t>(
                    ((n * 4 + static_cast<int>(group) * 2 + c) * 7 + iy) * 5 + ix);
                patch.push_back(inside ? x.as<float>()[at] : 0);
              }
            }
          }
          const int channel = group == 0 ? 1 : 4;
          rows.x.push_back(patch);
          rows.y.push_back(
              {y.as<float>()[static_cast<size_t>(((n * 6 + channel) * 4 + oy) * 5 + ox)]});
        }
      }
    }
    const RowMoments expected = MomentsOf(rows), found = sums.Moments(group);
    for (size_t i = 0; i < expected.matrix.size(); ++i) {
      EXPECT_NEAR(found.matrix[i], expected.matrix[i], 1e-9) << i;
    }
  }
}

TEST(RowSumsTest, ChosenRowsAreTheSameForAnyNumberOfThreads) {
  std::mt19937 random(6);
  const RowLayout layout{.kind = RowLayout::Kind::kLast, .inputs = 20, .outputs = 10};
  const Tensor x = RandomTensor(random, {30, 17, 20}), y = RandomTensor(random, {30, 17, 10});
  std::vector<double> first;
  for (const size_t threads : {1, 4}) {
    TestJob job(threads);
    RowSums sums(layout);
    ASSERT_TRUE(sums.Add(x, y, 3, 100, *job.context().pool));
    EXPECT_EQ(sums.rows(), 100u);
    const RowMoments moments = sums.Moments(0);
    if (first.empty()) first = moments.matrix;
    EXPECT_EQ(moments.matrix, first);
    EXPECT_FALSE(sums.Add(y, x, 3, 100, *job.context().pool));
  }
}

}  // namespace
}  // namespace modelpress
