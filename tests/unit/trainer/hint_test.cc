// Hints: the loss against the formula, its gradients by finite differences, how adapters begin.
#include <cmath>
#include <random>
#include <vector>

#include "core/trainer/hint.h"
#include "gtest/gtest.h"

namespace modelpress::trainer {
namespace {

at::Tensor RandomTensor(std::mt19937& random, std::vector<int64_t> dims) {
  at::Tensor tensor = at::empty(dims, at::kDouble);
  std::normal_distribution<double> normal;
  for (int64_t i = 0; i < tensor.numel(); ++i) {
    tensor.mutable_data_ptr<double>()[i] = normal(random);
  }
  return tensor;
}

TrainHint Hint(int axis, int64_t channels, int64_t teacher_channels) {
  TrainHint hint;
  hint.set_channel_axis(axis);
  hint.set_channels(channels);
  hint.set_teacher_channels(teacher_channels);
  hint.set_weight(0.3);
  hint.set_variance(2);
  return hint;
}

TEST(HintLossTest, IsTheFormula) {
  std::mt19937 random(1);
  const at::Tensor student = RandomTensor(random, {2, 3, 4}),
                   teacher = RandomTensor(random, {2, 5, 4});
  const at::Tensor adapter = RandomTensor(random, {5, 3});
  double sum = 0;
  for (int n = 0; n < 2; ++n) {
    for (int p = 0; p < 4; ++p) {
      for (int t = 0; t < 5; ++t) {
        double mapped = 0;
        for (int s = 0; s < 3; ++s) {
          mapped += adapter[t][s].item<double>() * student[n][s][p].item<double>();
        }
        const double error = mapped - teacher[n][t][p].item<double>();
        sum += error * error;
      }
    }
  }
  EXPECT_NEAR(HintLoss(Hint(1, 3, 5), adapter, student, teacher).item<double>(),
              0.3 * sum / (2 * 4 * 5) / 2, 1e-12);
  // The same with channels on the last axis.
  EXPECT_NEAR(HintLoss(Hint(2, 3, 5), adapter, student.transpose(1, 2), teacher.transpose(1, 2))
                  .item<double>(),
              0.3 * sum / (2 * 4 * 5) / 2, 1e-12);
}

TEST(HintLossTest, GradientsAreThoseOfFiniteDifferences) {
  struct Case {
    std::vector<int64_t> student, teacher;
    int axis;
  };
  for (const Case& test : {Case{{2, 3, 2, 2}, {2, 4, 2, 2}, 1}, Case{{3, 2, 5}, {3, 2, 2}, 2},
                           Case{{4, 3}, {4, 3}, 1}}) {
    std::mt19937 random(7);
    const int64_t from = test.student[test.axis], to = test.teacher[test.axis];
    const TrainHint hint = Hint(test.axis, from, to);
    const at::Tensor teacher = RandomTensor(random, test.teacher);
    at::Tensor student = RandomTensor(random, test.student).requires_grad_();
    at::Tensor adapter = RandomTensor(random, {to, from}).requires_grad_();
    HintLoss(hint, adapter, student, teacher).backward();
    const at::NoGradGuard no_gradients;
    for (const at::Tensor* varied : {&student, &adapter}) {
      const at::Tensor gradient = varied->grad().contiguous();
      double* const values = varied->mutable_data_ptr<double>();
      for (int64_t i = 0; i < varied->numel(); ++i) {
        constexpr double kStep = 1e-5;
        const double before = values[i];
        values[i] = before + kStep;
        const double above = HintLoss(hint, adapter, student, teacher).item<double>();
        values[i] = before - kStep;
        const double below = HintLoss(hint, adapter, student, teacher).item<double>();
        values[i] = before;
        EXPECT_NEAR(gradient.const_data_ptr<double>()[i], (above - below) / (2 * kStep), 1e-8);
      }
    }
  }
}

TEST(FirstAdapterTest, IsTheIdentityOrRandom) {
  EXPECT_TRUE(at::equal(FirstAdapter(Hint(1, 4, 4), 1, 0), at::eye(4)));
  const at::Tensor adapter = FirstAdapter(Hint(1, 100, 60), 1, 0);
  EXPECT_EQ(adapter.sizes(), at::IntArrayRef({60, 100}));
  EXPECT_NEAR(adapter.pow(2).mean().item<double>(), 1.0 / 100, 1e-3);
  EXPECT_TRUE(at::equal(adapter, FirstAdapter(Hint(1, 100, 60), 1, 0)));
  EXPECT_FALSE(at::equal(adapter, FirstAdapter(Hint(1, 100, 60), 2, 0)));
  EXPECT_FALSE(at::equal(adapter, FirstAdapter(Hint(1, 100, 60), 1, 1)));
}

}  // namespace
}  // namespace modelpress::trainer
