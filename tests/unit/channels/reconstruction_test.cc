// Scores of reconstruction against removing each channel and solving the least squares outright.
#include "core/channels/reconstruction.h"

#include <algorithm>
#include <cmath>

#include "core/channels/importance.h"
#include "gtest/gtest.h"
#include "tests/unit/channels/generated_network.h"

namespace modelpress {
namespace {

using testing::FilledModel;
using testing::RunOnce;
using testing::TestJob;
using testing::Values;

constexpr size_t kChannels = 10, kOutputs = 3;
constexpr std::string_view kNetwork = R"(<ir_version: 8, opset_import: ["" : 13]>
    g (float[N, 6] x) => (float[N, 3] y) <float[6, 10] w, float[10, 3] v>
    { h = MatMul(x, w) r = Relu(h) y = MatMul(r, v) })";
constexpr std::string_view kFirstHalf = R"(<ir_version: 8, opset_import: ["" : 13]>
    g (float[N, 6] x) => (float[N, 10] r) <float[6, 10] w>
    { h = MatMul(x, w) r = Relu(h) })";

// Share of the variance of y = v^T r that the channels in `left` cannot explain, by
// Gram-Schmidt on the centered columns of r.
double Unexplained(std::vector<std::vector<double>> r, std::vector<std::vector<double>> y,
                   const std::vector<size_t>& left) {
  const auto center = [](std::vector<double>& column) {
    double mean = 0;
    for (const double value : column) mean += value / static_cast<double>(column.size());
    for (double& value : column) value -= mean;
  };
  const auto dot = [](const std::vector<double>& a, const std::vector<double>& b) {
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
    return sum;
  };
  double signal = 0, rest = 0;
  for (auto& column : r) center(column);
  for (auto& column : y) {
    center(column);
    signal += dot(column, column);
  }
  std::vector<std::vector<double>> basis;
  for (const size_t c : left) {
    std::vector<double> column = r[c];
    for (const auto& other : basis) {
      const double factor = dot(column, other) / dot(other, other);
      for (size_t i = 0; i < column.size(); ++i) column[i] -= factor * other[i];
    }
    if (dot(column, column) < 1e-12) continue;
    for (auto& target : y) {
      const double factor = dot(target, column) / dot(column, column);
      for (size_t i = 0; i < target.size(); ++i) target[i] -= factor * column[i];
    }
    basis.push_back(column);
  }
  for (const auto& column : y) rest += dot(column, column);
  return rest / signal;
}

TEST(ReconstructionTest, ScoresAreTheErrorsThatARefitLeaves) {
  Model model = FilledModel(kNetwork);
  const Model half = FilledModel(kFirstHalf);
  TestJob job;
  const auto samples = MakeSyntheticSamples(model, 200, /*seed=*/3);
  ASSERT_TRUE(samples.ok());
  const GraphIndex index(model.mutable_proto());
  const Dependencies found = FindDependencyGroups(model, index, {});
  ASSERT_EQ(found.groups.size(), 2u);
  const auto scores = ScoreByReconstruction(model, index, found, **samples, job.context());
  ASSERT_TRUE(scores.ok()) << scores.status();
  ASSERT_EQ((*scores)[0].size(), kChannels);
  EXPECT_TRUE((*scores)[1].empty());

  // What the network computes on the samples that are not held back.
  const std::vector<double> v = Values(model, *testing::FindInitializer(model, "v"));
  std::vector<std::vector<double>> r(kChannels), y(kOutputs);
  for (uint64_t i = 0; i < (*samples)->batches(); ++i) {
    if (i % 5 == 4) continue;
    const auto values = RunOnce(half, (*samples)->Read(i)->inputs, "r");
    for (size_t row = 0; row < values.size() / kChannels; ++row) {
      for (size_t n = 0; n < kOutputs; ++n) y[n].push_back(0);
      for (size_t c = 0; c < kChannels; ++c) {
        const double value = values[row * kChannels + c];
        r[c].push_back(value);
        for (size_t n = 0; n < kOutputs; ++n) y[n].back() += value * v[c * kOutputs + n];
      }
    }
  }
  // Greedily: in each round the channel without which least is lost.
  std::vector<size_t> left(kChannels);
  for (size_t c = 0; c < kChannels; ++c) left[c] = c;
  double lost = 0;
  for (int round = 0; round < 5; ++round) {
    size_t best = 0;
    double least = 2;
    for (const size_t c : left) {
      std::vector<size_t> others = left;
      std::erase(others, c);
      if (const double rest = Unexplained(r, y, others); rest < least) {
        least = rest;
        best = c;
      }
    }
    const double score = (*scores)[0][best];
    EXPECT_NEAR(score, least - lost, 0.03 * (least - lost) + 1e-3) << "round " << round;
    // It goes before all that are left.
    for (const size_t c : left) EXPECT_LE(score, (*scores)[0][c]) << "round " << round;
    lost = least;
    std::erase(left, best);
  }
}

TEST(ReconstructionTest, EnergyIsTheShareOfWhatIsRead) {
  Model model = FilledModel(kNetwork);
  const Model half = FilledModel(kFirstHalf);
  TestJob job;
  const auto samples = MakeSyntheticSamples(model, 20, /*seed=*/3);
  ASSERT_TRUE(samples.ok());
  const GraphIndex index(model.mutable_proto());
  const Dependencies found = FindDependencyGroups(model, index, {});
  const auto scores = ScoreChannels(model, index, found, ChannelImportance::kEnergy, samples->get(),
                                    /*centered=*/false, job.context());
  ASSERT_TRUE(scores.ok()) << scores.status();
  const std::vector<double> v = Values(model, *testing::FindInitializer(model, "v"));
  std::vector<double> energy(kChannels);
  for (uint64_t i = 0; i < (*samples)->batches(); ++i) {
    const auto values = RunOnce(half, (*samples)->Read(i)->inputs, "r");
    for (size_t e = 0; e < values.size(); ++e) energy[e % kChannels] += values[e] * values[e];
  }
  double mean = 0;
  for (size_t c = 0; c < kChannels; ++c) {
    double norm = 0;
    for (size_t n = 0; n < kOutputs; ++n) norm += v[c * kOutputs + n] * v[c * kOutputs + n];
    energy[c] *= norm;
    mean += energy[c] / kChannels;
  }
  for (size_t c = 0; c < kChannels; ++c) {
    EXPECT_NEAR((*scores)[0][c], energy[c] / mean, 1e-4 * energy[c] / mean) << c;
  }
}

}  // namespace
}  // namespace modelpress
