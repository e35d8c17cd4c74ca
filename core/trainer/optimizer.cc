// Optimizers: see optimizer.h.
#include "core/trainer/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace modelpress::trainer {
namespace {

constexpr double kBeta1 = 0.9, kBeta2 = 0.999, kEpsilon = 1e-8, kMomentum = 0.9;

}  // namespace

double LearningRate(const Training& training, uint64_t step) {
  const double steps = training.steps(), now = static_cast<double>(step);
  const double warm = std::round(training.warmup() * steps);
  if (now < warm) return training.learning_rate() * (now + 1) / warm;
  const double part = (now - warm) / std::max(1.0, steps - warm);
  return training.learning_rate() * (1 + std::cos(std::numbers::pi * part)) / 2;
}

Optimizer::Optimizer(const Training& training, std::vector<Parameter>& parameters)
    : training_(training), parameters_(parameters) {
  const bool adam = training.optimizer() == Training::OPTIMIZER_ADAMW;
  for (const Parameter& parameter : parameters) {
    const at::Tensor zeros = at::zeros_like(parameter.values().detach());
    state_.push_back(parameter.spec().statistic() ? at::empty({0}) : zeros);
    state_.push_back(parameter.spec().statistic() || !adam ? at::empty({0}) : zeros.clone());
  }
}

double Optimizer::ClipGradients() {
  const at::NoGradGuard no_gradients;
  double squares = 0;
  for (Parameter& parameter : parameters_) {
    parameter.MaskGradient();
    const at::Tensor& gradient = parameter.values().grad();
    if (!gradient.defined()) continue;
    const at::Tensor flat = gradient.reshape({-1});
    squares += at::dot(flat, flat).item<double>();
  }
  const double norm = std::sqrt(squares), limit = training_.clip_norm();
  if (limit > 0 && norm > limit) {
    for (Parameter& parameter : parameters_) {
      at::Tensor gradient = parameter.values().grad();
      if (gradient.defined()) gradient.mul_(limit / norm);
    }
  }
  return norm;
}

void Optimizer::Step(uint64_t step) {
  const at::NoGradGuard no_gradients;
  const double rate = LearningRate(training_, step);
  const double t = static_cast<double>(step) + 1;
  const double correction1 = 1 - std::pow(kBeta1, t);
  const double correction2 = std::sqrt(1 - std::pow(kBeta2, t));
  for (size_t i = 0; i < parameters_.size(); ++i) {
    Parameter& parameter = parameters_[i];
    at::Tensor& values = parameter.values();
    const at::Tensor gradient = values.grad();
    if (!gradient.defined()) continue;
    const double decay = parameter.spec().decay() ? training_.weight_decay() : 0;
    if (training_.optimizer() == Training::OPTIMIZER_ADAMW) {
      at::Tensor& mean = state_[2 * i];
      at::Tensor& square = state_[2 * i + 1];
      mean.mul_(kBeta1).add_(gradient, 1 - kBeta1);
      square.mul_(kBeta2).addcmul_(gradient, gradient, 1 - kBeta2);
      const at::Tensor divisor = at::sqrt(square).div_(correction2).add_(kEpsilon);
      if (decay > 0) values.mul_(1 - rate * decay);
      values.addcdiv_(mean, divisor, -rate / (correction1 * std::sqrt(parameter.live_share())));
    } else {
      at::Tensor& velocity = state_[2 * i];
      const at::Tensor slope = decay > 0 ? gradient + values * decay : gradient;
      velocity.mul_(kMomentum).add_(slope);
      values.sub_(slope + velocity * kMomentum, rate);
    }
    parameter.Constrain();
    values.mutable_grad() = at::Tensor();
  }
}

}  // namespace modelpress::trainer
