// The term of the loss that a hint adds: see hint.h.
#include "core/trainer/hint.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/data/random.h"

namespace modelpress::trainer {
namespace {

// Draws of adapters; those of batches have another key.
constexpr uint64_t kAdapterKey = 0x6869;

}  // namespace

at::Tensor FirstAdapter(const TrainHint& hint, uint64_t seed, uint64_t number) {
  const int64_t from = hint.channels(), to = hint.teacher_channels();
  if (from == to) return at::eye(from);
  at::Tensor adapter = at::empty({to, from});
  float* const values = adapter.mutable_data_ptr<float>();
  const float deviation = 1 / std::sqrt(static_cast<float>(from));
  Random random(seed, kAdapterKey, number);
  for (int64_t i = 0; i < adapter.numel(); ++i) values[i] = deviation * random.Normal();
  return adapter;
}

double HintShare(const Training& training, uint64_t step) {
  const double part = static_cast<double>(step) / std::max(1u, training.steps());
  return (1 + std::cos(std::numbers::pi * part)) / 2;
}

at::Tensor HintLoss(const TrainHint& hint, const at::Tensor& adapter, const at::Tensor& student,
                    const at::Tensor& teacher) {
  const at::Tensor from = student.transpose(hint.channel_axis(), -1);
  const at::Tensor to = teacher.transpose(hint.channel_axis(), -1);
  return at::mse_loss(at::matmul(from, adapter.t()), to) * (hint.weight() / hint.variance());
}

}  // namespace modelpress::trainer
