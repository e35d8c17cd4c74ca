// GPTQ against the paper's own formula (with the inverse) in plain double code; factors of rows.
#include "core/quant/gptq.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>

#include "core/quant/row_scaling.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "hwy/targets.h"

namespace modelpress {
namespace {

struct Work {
  explicit Work(size_t threads = 1) : pool(threads) {
    context.pool = &pool;
    context.cancellation = &cancellation;
  }
  ThreadPool pool;
  Cancellation cancellation;
  JobContext context;
};

// Inputs that depend on each other: x = z A with z normal; channel sizes differ.
struct Problem {
  Problem(uint64_t rows, uint64_t columns, uint32_t seed) : rows(rows), columns(columns) {
    std::mt19937 random(seed);
    std::normal_distribution<double> normal;
    weights.resize(rows * columns);
    for (float& w : weights) w = static_cast<float>(0.1 * normal(random));
    const uint64_t hidden = rows / 2 + 1;
    std::vector<double> mix(hidden * rows);
    for (double& value : mix) value = normal(random);
    fit.resize(rows * rows);
    judge.resize(rows * rows);
    for (std::vector<float>* gram : {&fit, &judge}) {
      const uint64_t samples = 4 * rows;
      std::vector<double> sum(rows * rows), x(rows), z(hidden);
      for (uint64_t s = 0; s < samples; ++s) {
        for (double& value : z) value = normal(random);
        for (uint64_t k = 0; k < rows; ++k) {
          x[k] = 0.3 * normal(random);
          for (uint64_t h = 0; h < hidden; ++h) x[k] += z[h] * mix[h * rows + k];
          if (k % 7 == 3) x[k] *= 4;
        }
        for (uint64_t i = 0; i < rows; ++i) {
          for (uint64_t j = 0; j < rows; ++j) sum[i * rows + j] += x[i] * x[j];
        }
      }
      for (uint64_t i = 0; i < sum.size(); ++i) {
        (*gram)[i] = static_cast<float>(sum[i] / static_cast<double>(samples));
      }
    }
  }

  BlockLayout layout(uint64_t block_size) const {
    const int64_t dims[] = {static_cast<int64_t>(rows), static_cast<int64_t>(columns)};
    return {ColumnsAlong(dims, 0), block_size};
  }
  // tr((W - V)^T G (W - V)).
  double Error(const std::vector<double>& v, const std::vector<float>& gram) const {
    double total = 0;
    for (uint64_t c = 0; c < columns; ++c) {
      for (uint64_t i = 0; i < rows; ++i) {
        for (uint64_t j = 0; j < rows; ++j) {
          total += (weights[i * columns + c] - v[i * columns + c]) * gram[i * rows + j] *
                   (weights[j * columns + c] - v[j * columns + c]);
        }
      }
    }
    return total;
  }

  uint64_t rows, columns;
  std::vector<float> weights, fit, judge;
};

struct Coded {
  std::vector<std::byte> codes, zero_points, scales;
  JudgedBlocks result;
};

template <typename Encode>
Coded Code(const Problem& problem, const BlockLayout& layout, const BlockRule& rule,
           const Encode& encode) {
  Coded coded;
  const CodeSizes sizes = SizesOf(layout, rule.stored_bits(), CodeLayout::kTensor);
  coded.codes.resize(sizes.codes);
  coded.zero_points.resize(sizes.zero_points);
  coded.scales.resize(layout.scales() * sizeof(float));
  const CodeWriter writer(layout, rule.stored_bits(), CodeLayout::kTensor, 0, coded.codes,
                          coded.zero_points, coded.scales);
  absl::StatusOr<JudgedBlocks> result = encode(std::as_bytes(std::span(problem.weights)), writer);
  EXPECT_TRUE(result.ok()) << result.status();
  coded.result = *result;
  return coded;
}

Coded Gptq(const Problem& problem, const BlockLayout& layout, const BlockRule& rule,
           size_t threads = 1) {
  Work work(threads);
  const auto factor = FactorGram(problem.fit, problem.rows, layout.block_size, 0.01, work.context);
  EXPECT_TRUE(factor.ok() && factor->has_value());
  return Code(problem, layout, rule, [&](auto values, const CodeWriter& writer) {
    return EncodeGptq(values, DataType::kFloat, layout, rule, **factor, problem.judge, writer,
                      work.context, nullptr);
  });
}

std::vector<double> Decode(const Coded& coded, const Problem& problem, const BlockLayout& layout) {
  std::vector<double> v(problem.weights.size());
  const auto nibble = [](std::span<const std::byte> bytes, uint64_t index) {
    return std::to_integer<int>(bytes[index / 2]) >> (index % 2 * 4) & 15;
  };
  for (uint64_t c = 0; c < problem.columns; ++c) {
    for (uint64_t k = 0; k < problem.rows; ++k) {
      const uint64_t at = k * problem.columns + c;
      const uint64_t scale_at = layout.ScaleIndex(c, k / layout.block_size);
      float scale;
      std::memcpy(&scale, coded.scales.data() + scale_at * sizeof(float), sizeof(float));
      v[at] = (nibble(coded.codes, at) - nibble(coded.zero_points, scale_at)) *
              static_cast<double>(scale);
    }
  }
  return v;
}

// The algorithm of the GPTQ paper: U upper with H^-1 = U^T U, row i of U spreads the error of row i.
std::vector<double> PaperGptq(const Problem& problem, const BlockRule& rule, uint64_t block_size) {
  const uint64_t n = problem.rows;
  std::vector<uint64_t> order;
  {
    std::vector<uint64_t> blocks((n + block_size - 1) / block_size);
    std::iota(blocks.begin(), blocks.end(), 0);
    const auto energy = [&](uint64_t k) { return problem.fit[k * n + k]; };
    const auto sum = [&](uint64_t b) {
      double total = 0;
      for (uint64_t k = b * block_size; k < std::min(n, (b + 1) * block_size); ++k)
        total += energy(k);
      return total;
    };
    std::ranges::stable_sort(blocks, [&](uint64_t a, uint64_t b) { return sum(a) > sum(b); });
    for (const uint64_t b : blocks) {
      std::vector<uint64_t> inside;
      for (uint64_t k = b * block_size; k < std::min(n, (b + 1) * block_size); ++k)
        inside.push_back(k);
      std::ranges::stable_sort(inside,
                               [&](uint64_t a, uint64_t c) { return energy(a) > energy(c); });
      order.insert(order.end(), inside.begin(), inside.end());
    }
  }
  // H with damping, its inverse by Gauss-Jordan, and U by Cholesky.
  std::vector<double> h(n * n), inverse(n * n), u(n * n);
  double mean = 0;
  for (uint64_t k = 0; k < n; ++k) mean += problem.fit[k * n + k] / static_cast<double>(n);
  for (uint64_t i = 0; i < n; ++i) {
    for (uint64_t j = 0; j < n; ++j) h[i * n + j] = problem.fit[order[i] * n + order[j]];
    h[i * n + i] += 0.01 * mean;
    inverse[i * n + i] = 1;
  }
  for (uint64_t i = 0; i < n; ++i) {
    const double pivot = h[i * n + i];
    for (uint64_t j = 0; j < n; ++j) h[i * n + j] /= pivot, inverse[i * n + j] /= pivot;
    for (uint64_t r = 0; r < n; ++r) {
      if (r == i) continue;
      const double f = h[r * n + i];
      for (uint64_t j = 0; j < n; ++j) {
        h[r * n + j] -= f * h[i * n + j];
        inverse[r * n + j] -= f * inverse[i * n + j];
      }
    }
  }
  for (uint64_t i = 0; i < n; ++i) {
    for (uint64_t j = i; j < n; ++j) {
      double sum = inverse[i * n + j];
      for (uint64_t k = 0; k < i; ++k) sum -= u[k * n + i] * u[k * n + j];
      u[i * n + j] = i == j ? std::sqrt(sum) : sum / u[i * n + i];
    }
  }
  std::vector<double> w(n * problem.columns), v(n * problem.columns);
  for (uint64_t i = 0; i < n; ++i) {
    for (uint64_t c = 0; c < problem.columns; ++c) {
      w[i * problem.columns + c] = problem.weights[order[i] * problem.columns + c];
    }
  }
  const double levels = rule.levels();
  for (uint64_t c = 0; c < problem.columns; ++c) {
    double scale = 1, zero = 0;
    for (uint64_t i = 0; i < n; ++i) {
      if (i == 0 || order[i] / block_size != order[i - 1] / block_size) {
        // Plain rounding's parameters from the block's rows as they are now.
        double low = 0, high = 0;
        for (uint64_t j = i; j < n && order[j] / block_size == order[i] / block_size; ++j) {
          low = std::min(low, w[j * problem.columns + c]);
          high = std::max(high, w[j * problem.columns + c]);
        }
        scale =
            rule.symmetric ? (high > -low ? high : low) / -rule.middle() : (high - low) / levels;
        zero = rule.symmetric ? rule.middle() : std::floor(-low / scale + 0.5);
      }
      const double value = w[i * problem.columns + c];
      const double code = std::floor(std::clamp(value / scale + zero, 0.0, levels) + 0.5);
      const double rounded = scale * (code - zero);
      v[order[i] * problem.columns + c] = rounded;
      const double error = (value - rounded) / u[i * n + i];
      for (uint64_t j = i + 1; j < n; ++j) w[j * problem.columns + c] -= u[i * n + j] * error;
    }
  }
  return v;
}

TEST(GptqTest, IsThePaperAlgorithm) {
  const Problem problem(72, 10, 1);
  for (const int bits : {2, 3, 4}) {
    for (const bool symmetric : {true, false}) {
      const BlockRule rule{bits, symmetric, BlockMethod::kRoundToNearest};
      const BlockLayout layout = problem.layout(32);
      const Coded coded = Gptq(problem, layout, rule);
      const std::vector<double> expected = PaperGptq(problem, rule, 32);
      const std::vector<double> found = Decode(coded, problem, layout);
      size_t different = 0;
      for (size_t i = 0; i < found.size(); ++i) {
        different += std::abs(found[i] - expected[i]) > 1e-4 * std::abs(expected[i]) + 1e-6;
      }
      // A value half way between two codes may go either way in single precision; what follows it in
      // its column then differs too.
      EXPECT_LE(different, found.size() / 10) << bits << symmetric;
      EXPECT_NEAR(problem.Error(found, problem.fit) / problem.Error(expected, problem.fit), 1,
                  0.03);
      EXPECT_NEAR(problem.Error(found, problem.judge) / coded.result.error, 1, 1e-3);
    }
  }
}

TEST(GptqTest, BeatsRoundingOnWhatItIsFittedTo) {
  for (uint32_t seed = 10; seed < 30; ++seed) {
    Problem problem(40 + seed, 9, seed);
    problem.judge = problem.fit;
    for (const int bits : {2, 3, 4}) {
      const BlockRule rule{bits, bits != 2, BlockMethod::kWeightedFit};
      const JudgedBlocks result = Gptq(problem, problem.layout(16), rule).result;
      EXPECT_LE(result.error, result.plain_error) << "seed " << seed << ", bits " << bits;
    }
  }
}

TEST(GptqTest, ErrorsAreThoseOfTheDecodedWeights) {
  const Problem problem(48, 70, 3);
  const BlockRule rule{3, false, BlockMethod::kWeightedFit};
  const BlockLayout layout = problem.layout(16);
  std::vector<float> energy;
  for (uint64_t k = 0; k < problem.rows; ++k) energy.push_back(problem.fit[k * problem.rows + k]);
  Work work;
  const Coded coded = Code(problem, layout, rule, [&](auto values, const CodeWriter& writer) {
    return EncodeJudged(values, DataType::kFloat, layout, rule, {.importance = energy},
                        problem.judge, writer, work.context, nullptr);
  });
  EXPECT_NEAR(problem.Error(Decode(coded, problem, layout), problem.judge) / coded.result.error, 1,
              1e-3);
  const std::vector<double> nothing(problem.weights.size());
  EXPECT_NEAR(problem.Error(nothing, problem.judge) / coded.result.output, 1, 1e-3);
}

TEST(GptqTest, SameBytesForAnyThreadsAndInstructionSet) {
  const Problem problem(130, 200, 4);
  const BlockRule rule{4, true, BlockMethod::kWeightedFit};
  const BlockLayout layout = problem.layout(32);
  const Coded first = Gptq(problem, layout, rule);
  const Coded second = Gptq(problem, layout, rule, 4);
  EXPECT_TRUE(first.codes == second.codes && first.scales == second.scales);
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    const Coded other = Gptq(problem, layout, rule);
    EXPECT_TRUE(first.codes == other.codes && first.scales == other.scales)
        << hwy::TargetName(target);
    hwy::SetSupportedTargetsForTest(0);
  }
}

TEST(GptqTest, DeadRowsAndHopelessGrams) {
  Problem problem(32, 5, 5);
  for (uint64_t k = 0; k < 32; ++k) problem.fit[7 * 32 + k] = problem.fit[k * 32 + 7] = 0;
  const BlockRule rule{4, true, BlockMethod::kWeightedFit};
  const BlockLayout layout = problem.layout(16);
  const std::vector<double> found = Decode(Gptq(problem, layout, rule), problem, layout);
  for (uint64_t c = 0; c < 5; ++c) EXPECT_NEAR(found[7 * 5 + c], problem.weights[7 * 5 + c], 0.05);
  Work work;
  for (const float bad : {NAN, INFINITY, 1e30f}) {
    std::vector<float> gram = problem.fit;
    gram[1] = gram[32] = bad;
    const auto factor = FactorGram(gram, 32, 16, 0.01, work.context);
    ASSERT_TRUE(factor.ok());
    EXPECT_FALSE(factor->has_value()) << bad;
  }
  const std::vector<float> zeros(32 * 32);
  EXPECT_FALSE(FactorGram(zeros, 32, 16, 0.01, work.context)->has_value());
}

TEST(RowScalingTest, OutlierChannelsGetFactorsAndLoseError) {
  // Inputs of one channel in each block are 20 times as large; another row is 50 times smaller than
  // its neighbours.
  Problem problem(64, 100, 6);
  std::vector<float> energy(64, 1.0f);
  for (size_t k = 5; k < 64; k += 16) energy[k] = 400;
  for (size_t c = 0; c < 100; ++c) problem.weights[9 * 100 + c] *= 0.02f;
  std::fill(problem.judge.begin(), problem.judge.end(), 0.0f);
  for (size_t k = 0; k < 64; ++k) problem.judge[k * 64 + k] = energy[k];
  const BlockRule rule{4, true, BlockMethod::kWeightedFit};
  const BlockLayout layout = problem.layout(16);
  Work work;
  const auto factors = ChooseRowFactors(std::as_bytes(std::span(problem.weights)), DataType::kFloat,
                                        layout, rule, energy, {}, work.context);
  ASSERT_TRUE(factors.ok());
  ASSERT_EQ(factors->size(), 64u);
  EXPECT_GT((*factors)[5], (*factors)[6]);
  const std::vector<float> importance = ScaledImportance(energy, *factors);
  const Coded coded = Code(problem, layout, rule, [&](auto values, const CodeWriter& writer) {
    return EncodeJudged(values, DataType::kFloat, layout, rule,
                        {.importance = importance, .factors = *factors}, problem.judge, writer,
                        work.context, nullptr);
  });
  EXPECT_LT(coded.result.error, 0.5 * coded.result.plain_error);
  std::vector<double> found = Decode(coded, problem, layout);
  for (size_t i = 0; i < found.size(); ++i) found[i] /= (*factors)[i / 100];
  EXPECT_NEAR(problem.Error(found, problem.judge) / coded.result.error, 1, 1e-3);
}

// s_k = energy_k^(a / 2) / size_k^b between 1/64 and 64 of their middle, for each (a, b) of the grid;
// the loss is that of plain rounding of s W, back without s, weighted with the energy or by the Gram:
// all in plain double.
TEST(RowScalingTest, IsTheBestOfTheGrid) {
  for (uint32_t seed = 40; seed < 44; ++seed) {
    SCOPED_TRACE(seed);
    Problem problem(48, 64, seed);
    std::mt19937 random(seed);
    std::vector<float> energy(48);
    for (uint64_t k = 0; k < 48; ++k) {
      energy[k] = seed % 2 == 0 ? std::exp2(static_cast<float>(random() % 13) - 6)
                                : problem.fit[k * 48 + k];
      const float size = std::exp2(static_cast<float>(random() % 5) - 2);
      for (uint64_t c = 0; c < 64; ++c) problem.weights[k * 64 + c] *= size;
    }
    const auto factors_of = [&](double a, double b) {
      std::vector<double> factors;
      double low = INFINITY, high = 0;
      for (uint64_t k = 0; k < 48; ++k) {
        double squares = 0;
        for (uint64_t c = 0; c < 64; ++c) squares += std::pow(problem.weights[k * 64 + c], 2);
        factors.push_back(std::pow(energy[k], a / 2) / std::pow(std::sqrt(squares / 64), b));
        low = std::min(low, factors.back()), high = std::max(high, factors.back());
      }
      const double middle = std::sqrt(low * high);
      for (double& factor : factors) factor = std::clamp(factor / middle, 1.0 / 64, 64.0);
      return factors;
    };
    // Every other time the inputs depend on each other.
    const std::vector<float> gram = seed % 2 == 0 ? std::vector<float>() : problem.fit;
    const auto loss_of = [&](const std::vector<double>& factors) {
      double loss = 0;
      std::vector<double> decoded(problem.weights.begin(), problem.weights.end());
      for (uint64_t c = 0; c < 64; ++c) {
        for (uint64_t first = 0; first < 48; first += 16) {
          double extreme = 0;
          for (uint64_t k = first; k < first + 16; ++k) {
            const double value = problem.weights[k * 64 + c] * factors[k];
            if (std::abs(value) > std::abs(extreme)) extreme = value;
          }
          const double scale = extreme / -8;
          for (uint64_t k = first; k < first + 16; ++k) {
            const double value = problem.weights[k * 64 + c] * factors[k];
            const double code = std::floor(std::clamp(value / scale + 8, 0.0, 15.0) + 0.5);
            loss += energy[k] * std::pow((value - scale * (code - 8)) / factors[k], 2);
            decoded[k * 64 + c] = scale * (code - 8) / factors[k];
          }
        }
      }
      return gram.empty() ? loss : problem.Error(decoded, gram);
    };
    constexpr std::pair<double, double> kGrid[] = {
        {0, 0},    {0, 0.5},     {0, 1}, {0.25, 0}, {0.25, 0.5}, {0.5, 0},    {0.5, 0.5},
        {0.75, 0}, {0.75, 0.25}, {1, 0}, {1, 1},    {0, 0.75},   {0.5, 0.25}, {0.25, 0.75}};
    double least = INFINITY;
    for (const auto& [a, b] : kGrid) least = std::min(least, loss_of(factors_of(a, b)));
    Work work;
    const auto found = ChooseRowFactors(std::as_bytes(std::span(problem.weights)), DataType::kFloat,
                                        problem.layout(16), {4, true, BlockMethod::kRoundToNearest},
                                        energy, gram, work.context);
    ASSERT_TRUE(found.ok());
    const std::vector<double> none(48, 1.0);
    EXPECT_LE(loss_of(found->empty() ? none : std::vector<double>(found->begin(), found->end())),
              1.001 * least);
    if (gram.empty()) {
      EXPECT_LT(least, 0.8 * loss_of(none));
    }
  }
}

TEST(RowScalingTest, EqualRowsGetNone) {
  const Problem problem(64, 100, 7);
  Work work;
  const auto factors = ChooseRowFactors(std::as_bytes(std::span(problem.weights)), DataType::kFloat,
                                        problem.layout(16), {4, true, BlockMethod::kRoundToNearest},
                                        std::vector<float>(64, 1.0f), {}, work.context);
  ASSERT_TRUE(factors.ok());
  // Sizes of random rows differ by a tenth: what factors there are stay close to 1.
  for (const float factor : *factors) EXPECT_NEAR(factor, 1, 0.5);
}

}  // namespace
}  // namespace modelpress
