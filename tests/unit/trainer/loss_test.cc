// Loss, optimizers and the learning rate against the formulas in plain double arithmetic.
#include <cmath>
#include <numbers>
#include <vector>

#include "core/trainer/loss.h"
#include "core/trainer/optimizer.h"
#include "core/training/train_model.h"
#include "gtest/gtest.h"

namespace modelpress::trainer {
namespace {

using Row = std::vector<double>;

Row Softmax(Row scores, double temperature) {
  double sum = 0;
  for (double& score : scores) sum += score = std::exp(score / temperature);
  for (double& score : scores) score /= sum;
  return scores;
}

double Expected(const Row& student, const Row& teacher, int label, const Training& training) {
  const double t = training.temperature();
  const Row p = Softmax(teacher, t), q = Softmax(student, t);
  double divergence = 0;
  for (size_t i = 0; i < p.size(); ++i) divergence += t * t * p[i] * std::log(p[i] / q[i]);
  if (label < 0) return divergence;
  return training.alpha() * divergence -
         (1 - training.alpha()) * std::log(Softmax(student, 1)[static_cast<size_t>(label)]);
}

TEST(DistillationLossTest, IsTheFormulaWithAndWithoutLabels) {
  const Training training = WithDefaults(Training());
  TrainTarget target;
  target.set_loss(TrainTarget::LOSS_CLASSES);
  target.set_class_axis(1);
  const Row s0 = {1.5, -0.25, 0.5}, t0 = {2, 0.5, -1}, s1 = {0.1, 0.2, -3}, t1 = {-1, 1, 0};
  const at::Tensor student = at::tensor({1.5, -0.25, 0.5, 0.1, 0.2, -3.0}).view({2, 3});
  const at::Tensor teacher = at::tensor({2.0, 0.5, -1.0, -1.0, 1.0, 0.0}).view({2, 3});
  const at::Tensor labels = at::tensor(std::vector<int64_t>{2, -1}, at::kLong);
  const double with = DistillationLoss(target, training, student, teacher, labels).item<double>();
  EXPECT_NEAR(with, (Expected(s0, t0, 2, training) + Expected(s1, t1, -1, training)) / 2, 1e-6);
  const double without = DistillationLoss(target, training, student, teacher, {}).item<double>();
  EXPECT_NEAR(without, (Expected(s0, t0, -1, training) + Expected(s1, t1, -1, training)) / 2, 1e-6);
  // Probabilities: their logarithms are the scores.
  TrainTarget probabilities = target;
  probabilities.set_probabilities(true);
  Training plain = training;
  plain.set_temperature(1);
  EXPECT_NEAR(DistillationLoss(probabilities, plain, at::softmax(student, 1),
                               at::softmax(teacher, 1), labels)
                  .item<double>(),
              DistillationLoss(target, plain, student, teacher, labels).item<double>(), 1e-5);
  // Classes on another axis: the same two positions.
  TrainTarget first = target;
  first.set_class_axis(0);
  EXPECT_NEAR(DistillationLoss(first, training, student.t(), teacher.t(), labels).item<double>(),
              with, 1e-6);
}

TEST(DistillationLossTest, OneScoreIsAPairOfClasses) {
  const Training training = WithDefaults(Training());
  TrainTarget target;
  target.set_loss(TrainTarget::LOSS_BINARY);
  const at::Tensor labels = at::tensor(std::vector<int64_t>{1, 0}, at::kLong).view({2, 1});
  const at::Tensor student = at::tensor({0.7, -2.0}).view({2, 1});
  const at::Tensor teacher = at::tensor({1.5, -0.5}).view({2, 1});
  EXPECT_NEAR(
      DistillationLoss(target, training, student, teacher, labels).item<double>(),
      (Expected({0, 0.7}, {0, 1.5}, 1, training) + Expected({0, -2}, {0, -0.5}, 0, training)) / 2,
      1e-6);
}

TEST(DistillationLossTest, SquaresAreOverTheVariance) {
  TrainTarget target;
  target.set_loss(TrainTarget::LOSS_SQUARES);
  target.set_variance(4);
  const Training training = WithDefaults(Training());
  EXPECT_NEAR(DistillationLoss(target, training, at::tensor({1.0, 5.0}), at::tensor({2.0, 2.0}), {})
                  .item<double>(),
              (1.0 + 9.0) / 2 / 4, 1e-7);
}

TEST(DistillationLossTest, OfEmbeddingsOnlyTheDirectionCounts) {
  TrainTarget target;
  target.set_loss(TrainTarget::LOSS_COSINE);
  const Training training = WithDefaults(Training());
  const std::vector<Row> s = {{1, 2, -0.5}, {0.3, -4, 1}}, t = {{2, 1, 0}, {-1, -1, 3}};
  double expected = 0;
  for (size_t i = 0; i < s.size(); ++i) {
    double dot = 0, x = 0, y = 0;
    for (size_t k = 0; k < 3; ++k) {
      dot += s[i][k] * t[i][k];
      x += s[i][k] * s[i][k];
      y += t[i][k] * t[i][k];
    }
    expected += (1 - dot / std::sqrt(x * y)) / 2;
  }
  const at::Tensor student = at::tensor({1.0, 2.0, -0.5, 0.3, -4.0, 1.0}, at::kDouble).view({2, 3});
  const at::Tensor teacher = at::tensor({2.0, 1.0, 0.0, -1.0, -1.0, 3.0}, at::kDouble).view({2, 3});
  for (const double length : {1.0, 1e-3, 1e5}) {
    EXPECT_NEAR(DistillationLoss(target, training, student * length, teacher, {}).item<double>(),
                expected, 1e-9);
  }
  Decisions decisions;
  decisions.Add(target, student, teacher, {});
  EXPECT_EQ(decisions.positions, 0);
}

TEST(DistillationLossTest, VectorsOfZerosHaveALossAndAGradient) {
  TrainTarget target;
  target.set_loss(TrainTarget::LOSS_COSINE);
  const Training training = WithDefaults(Training());
  // The student's first vector is 0, the teacher's second one, and both of the third.
  at::Tensor student =
      at::tensor({0.0f, 0.0f, 1.0f, 2.0f, 0.0f, 0.0f}).view({3, 2}).clone().requires_grad_();
  const at::Tensor teacher = at::tensor({3.0f, 4.0f, 0.0f, 0.0f, 0.0f, 0.0f}).view({3, 2});
  const at::Tensor loss = DistillationLoss(target, training, student, teacher, {});
  EXPECT_NEAR(loss.item<double>(), 1.0 / 3, 1e-6);
  loss.backward();
  const at::Tensor gradient = student.grad();
  EXPECT_TRUE(at::isfinite(gradient).all().item<bool>());
  // Towards the teacher's vector; no direction is none to follow.
  EXPECT_LT(gradient[0][0].item<double>(), 0);
  EXPECT_LT(gradient[0][1].item<double>(), 0);
  EXPECT_EQ(at::abs(gradient.slice(0, 1)).max().item<double>(), 0);
}

// Every kind of output: classes of samples, tokens and pixels, with and without labels; several yes or no; numbers.
TEST(DistillationLossTest, GradientsAreThoseOfFiniteDifferences) {
  struct Case {
    const char* name;
    TrainTarget::Loss loss;
    std::vector<int64_t> shape;
    int class_axis;
    bool probabilities;
    std::vector<int64_t> labels, label_shape;
  };
  for (const Case& test : {
           Case{"classes", TrainTarget::LOSS_CLASSES, {3, 4}, 1, false, {}, {}},
           Case{
               "classes with labels", TrainTarget::LOSS_CLASSES, {3, 4}, 1, false, {3, -1, 0}, {3}},
           Case{"probabilities", TrainTarget::LOSS_CLASSES, {3, 4}, 1, true, {1, 2, -1}, {3}},
           Case{"tokens",
                TrainTarget::LOSS_CLASSES,
                {2, 3, 4},
                2,
                false,
                {0, 3, -1, -1, 1, 2},
                {2, 3}},
           Case{"pixels",
                TrainTarget::LOSS_CLASSES,
                {1, 3, 2, 2},
                1,
                false,
                {0, -1, 2, 1},
                {1, 2, 2}},
           Case{"labels of several kinds",
                TrainTarget::LOSS_BINARY,
                {2, 3},
                0,
                false,
                {1, 0, 1, -1, 0, 1},
                {2, 3}},
           Case{"and as probabilities",
                TrainTarget::LOSS_BINARY,
                {2, 3},
                0,
                true,
                {1, 0, 1, -1, 0, 1},
                {2, 3}},
           Case{"numbers", TrainTarget::LOSS_SQUARES, {2, 5}, 0, false, {}, {}},
           Case{"embeddings of tokens", TrainTarget::LOSS_COSINE, {2, 3, 4}, 0, false, {}, {}},
       }) {
    TrainTarget target;
    target.set_loss(test.loss);
    target.set_class_axis(test.class_axis);
    target.set_probabilities(test.probabilities);
    target.set_variance(0.7);
    const Training training = WithDefaults(Training());
    int64_t count = 1;
    for (const int64_t extent : test.shape) count *= extent;
    std::vector<double> numbers(static_cast<size_t>(count)), wanted(numbers.size());
    for (size_t i = 0; i < numbers.size(); ++i) {
      const double angle = static_cast<double>(i);
      numbers[i] = test.probabilities ? 0.5 + 0.4 * std::sin(3 * angle) : 2 * std::sin(3 * angle);
      wanted[i] = test.probabilities ? 0.5 + 0.4 * std::cos(5 * angle) : 2 * std::cos(5 * angle);
    }
    at::Tensor student = at::tensor(numbers, at::kDouble).view(test.shape).clone().requires_grad_();
    const at::Tensor teacher = at::tensor(wanted, at::kDouble).view(test.shape);
    const at::Tensor labels = test.labels.empty()
                                  ? at::Tensor()
                                  : at::tensor(test.labels, at::kLong).view(test.label_shape);
    DistillationLoss(target, training, student, teacher, labels).backward();
    const at::Tensor gradient = student.grad().contiguous();
    const at::NoGradGuard no_gradients;
    double* const values = student.mutable_data_ptr<double>();
    for (int64_t i = 0; i < count; ++i) {
      constexpr double kStep = 1e-6;
      const double before = values[i];
      const auto loss = [&](double value) {
        values[i] = value;
        return DistillationLoss(target, training, student, teacher, labels).item<double>();
      };
      const double slope = (loss(before + kStep) - loss(before - kStep)) / (2 * kStep);
      values[i] = before;
      EXPECT_NEAR(gradient.const_data_ptr<double>()[i], slope, 1e-7) << test.name << " " << i;
    }
  }
}

TEST(LearningRateTest, RisesAndFalls) {
  Training training = WithDefaults(Training());
  training.set_steps(100);
  training.set_warmup(0.1);
  training.set_learning_rate(2);
  EXPECT_DOUBLE_EQ(LearningRate(training, 0), 0.2);
  EXPECT_DOUBLE_EQ(LearningRate(training, 9), 2);
  EXPECT_DOUBLE_EQ(LearningRate(training, 10), 2);
  EXPECT_NEAR(LearningRate(training, 55), 1, 1e-12);
  EXPECT_LT(LearningRate(training, 99), 2e-3);
}

// A parameter of three values over memory of the test.
struct OptimizerCase {
  Training::Optimizer optimizer;
  bool decay;
};

TEST(OptimizerTest, StepsAreTheFormulas) {
  for (const OptimizerCase& test : {OptimizerCase{Training::OPTIMIZER_ADAMW, true},
                                    OptimizerCase{Training::OPTIMIZER_ADAMW, false},
                                    OptimizerCase{Training::OPTIMIZER_SGD, true}}) {
    Training training;
    training.set_optimizer(test.optimizer);
    training.set_steps(10);
    training.set_warmup(0);
    training.set_weight_decay(0.1);
    training.set_learning_rate(0.05);
    training = WithDefaults(training);
    TrainParameter spec;
    spec.set_decay(test.decay);
    std::vector<Parameter> parameters = {
        Parameter::OfValues(spec, at::tensor({1.0f, -2.0f, 0.5f}))};
    Optimizer optimizer(training, parameters);
    std::vector<double> w = {1, -2, 0.5}, m(3, 0), v(3, 0);
    for (uint64_t step = 0; step < 4; ++step) {
      std::vector<double> g(3);
      for (int i = 0; i < 3; ++i) g[i] = std::sin(i + 1 + static_cast<double>(step));
      parameters[0].values().mutable_grad() = at::tensor(
          {static_cast<float>(g[0]), static_cast<float>(g[1]), static_cast<float>(g[2])});
      optimizer.Step(step);
      const double rate =
          0.05 * (1 + std::cos(std::numbers::pi * static_cast<double>(step) / 10)) / 2;
      const double decay = test.decay ? 0.1 : 0, t = static_cast<double>(step) + 1;
      for (int i = 0; i < 3; ++i) {
        if (test.optimizer == Training::OPTIMIZER_ADAMW) {
          m[i] = 0.9 * m[i] + 0.1 * g[i];
          v[i] = 0.999 * v[i] + 0.001 * g[i] * g[i];
          w[i] -= rate * decay * w[i] + rate * m[i] / (1 - std::pow(0.9, t)) /
                                            (std::sqrt(v[i] / (1 - std::pow(0.999, t))) + 1e-8);
        } else {
          const double slope = g[i] + decay * w[i];
          m[i] = 0.9 * m[i] + slope;
          w[i] -= rate * (slope + 0.9 * m[i]);
        }
        EXPECT_NEAR(parameters[0].values()[i].item<double>(), w[i], 2e-6) << step << " " << i;
      }
    }
  }
}

TEST(OptimizerTest, GradientsOfWhatStaysZeroDoNotCount) {
  Training training = WithDefaults(Training());
  training.set_clip_norm(2.5);
  TrainParameter spec;
  spec.set_keep_zeros(true);
  std::vector<Parameter> parameters = {Parameter::OfValues(spec, at::tensor({0.0f, 1.0f})),
                                       Parameter::OfValues(spec, at::tensor({2.0f, 0.0f}))};
  Optimizer optimizer(training, parameters);
  parameters[0].values().mutable_grad() = at::tensor({100.0f, 3.0f});
  parameters[1].values().mutable_grad() = at::tensor({4.0f, -1000.0f});
  EXPECT_NEAR(optimizer.ClipGradients(), 5, 1e-6);
  EXPECT_TRUE(at::equal(parameters[0].values().grad(), at::tensor({0.0f, 1.5f})));
  EXPECT_TRUE(at::equal(parameters[1].values().grad(), at::tensor({2.0f, 0.0f})));
}

// Of four weights three stay 0: the steps of the fourth are twice as large, root of 4.
TEST(OptimizerTest, StepsAreLargerWhereFewWeightsAreLeft) {
  Training training;
  training.set_steps(10);
  training.set_warmup(0);
  training.set_weight_decay(0);
  training.set_learning_rate(0.05);
  training = WithDefaults(training);
  TrainParameter pruned, whole;
  pruned.set_keep_zeros(true);
  std::vector<Parameter> parameters = {
      Parameter::OfValues(pruned, at::tensor({0.0f, 1.0f, 0.0f, 0.0f})),
      Parameter::OfValues(whole, at::tensor({0.0f, 1.0f, 0.0f, 0.0f}))};
  Optimizer optimizer(training, parameters);
  for (Parameter& parameter : parameters) {
    parameter.values().mutable_grad() = at::tensor({5.0f, 3.0f, 4.0f, -2.0f});
  }
  optimizer.ClipGradients();
  optimizer.Step(0);
  EXPECT_TRUE(at::allclose(parameters[0].values().detach(), at::tensor({0.0f, 0.9f, 0.0f, 0.0f})));
  EXPECT_TRUE(
      at::allclose(parameters[1].values().detach(), at::tensor({-0.05f, 0.95f, -0.05f, 0.05f})));
}

TEST(OptimizerTest, ClipsAllGradientsTogether) {
  Training training = WithDefaults(Training());
  training.set_clip_norm(2.5);
  TrainParameter spec;
  std::vector<Parameter> parameters = {Parameter::OfValues(spec, at::zeros({1})),
                                       Parameter::OfValues(spec, at::zeros({1}))};
  Optimizer optimizer(training, parameters);
  parameters[0].values().mutable_grad() = at::tensor({3.0f});
  parameters[1].values().mutable_grad() = at::tensor({4.0f});
  EXPECT_NEAR(optimizer.ClipGradients(), 5, 1e-6);
  EXPECT_NEAR(parameters[0].values().grad().item<double>(), 1.5, 1e-6);
  EXPECT_NEAR(parameters[1].values().grad().item<double>(), 2, 1e-6);
}

}  // namespace
}  // namespace modelpress::trainer
