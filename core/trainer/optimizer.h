// AdamW and stochastic gradient descent with Nesterov's momentum.
#pragma once

#include <vector>

#include "core/trainer/parameter.h"
#include "modelpress/v1/recipe.pb.h"

namespace modelpress::trainer {

// The learning rate of a step (counted from 0): rises linearly over the warm-up, then falls to 0 along half a cosine
// (Loshchilov and Hutter 2017, "SGDR").
double LearningRate(const Training& training, uint64_t step);

// AdamW (Loshchilov and Hutter 2019, "Decoupled weight decay regularization"), beta 0.9 and 0.999, epsilon 1e-8:
//   m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
//   w = w - rate decay w - rate / sqrt(live) m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + epsilon)
// where `live` is the share of the weights of a tensor that do not stay 0. The natural size of a weight, and so of its
// steps, is one over the root of the number of summands (He et al. 2015), of which only that share is left.
// SGD: u = 0.9 u + g + decay w;  w = w - rate (g + decay w + 0.9 u).
class Optimizer {
 public:
  // Parameters must outlive it.
  Optimizer(const Training& training, std::vector<Parameter>& parameters);

  // Scales all gradients so that their common norm is at most training.clip_norm; returns the norm before.
  double ClipGradients();
  // One step by the gradients, which are then cleared. `step` counts from 0.
  void Step(uint64_t step);
  // Two tensors for each parameter, for checkpoints.
  std::vector<at::Tensor>& state() { return state_; }

 private:
  const Training& training_;
  std::vector<Parameter>& parameters_;
  std::vector<at::Tensor> state_;
};

}  // namespace modelpress::trainer
