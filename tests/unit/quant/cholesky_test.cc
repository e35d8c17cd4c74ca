// The factor's product against the matrix.
#include "core/quant/cholesky.h"

#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace modelpress {
namespace {

TEST(CholeskyTest, ProductIsTheMatrix) {
  ThreadPool pool(3);
  Cancellation cancellation;
  JobContext context;
  context.pool = &pool;
  context.cancellation = &cancellation;
  for (const size_t size : {1u, 5u, 64u, 65u, 130u, 257u}) {
    std::mt19937 random(static_cast<uint32_t>(size));
    std::normal_distribution<double> normal;
    std::vector<double> a(size * size), matrix(size * size);
    for (double& value : a) value = normal(random);
    for (size_t i = 0; i < size; ++i) {
      for (size_t j = 0; j < size; ++j) {
        for (size_t k = 0; k < size; ++k) matrix[i * size + j] += a[i * size + k] * a[j * size + k];
      }
      matrix[i * size + i] += 1;
    }
    std::vector<double> lower = matrix;
    const auto done = Cholesky(lower, size, context);
    ASSERT_TRUE(done.ok() && *done);
    for (size_t i = 0; i < size; ++i) {
      for (size_t j = 0; j <= i; ++j) {
        double sum = 0;
        for (size_t k = 0; k <= j; ++k) sum += lower[i * size + k] * lower[j * size + k];
        ASSERT_NEAR(sum, matrix[i * size + j], 1e-8 * static_cast<double>(size)) << size;
      }
    }
    lower = matrix;
    lower[size * size - 1] = -1;
    EXPECT_FALSE(*Cholesky(lower, size, context));
  }
}

}  // namespace
}  // namespace modelpress
