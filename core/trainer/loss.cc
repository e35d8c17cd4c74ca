// Loss and metrics: see loss.h.
#include "core/trainer/loss.h"

namespace modelpress::trainer {
namespace {

constexpr double kLeastProbability = 1e-12;
// Of the square of a student's vector, as a share of the teacher's.
constexpr double kLeastSquare = 1e-12;

// [positions, classes] scores.
at::Tensor Scores(const TrainTarget& target, const at::Tensor& output) {
  const at::Tensor last = output.transpose(target.class_axis(), -1);
  const at::Tensor rows = last.reshape({-1, last.size(-1)});
  return target.probabilities() ? at::log(at::clamp_min(rows, kLeastProbability)) : rows;
}

// [positions] scores of class 1.
at::Tensor BinaryScores(const TrainTarget& target, const at::Tensor& output) {
  const at::Tensor flat = output.reshape({-1});
  return target.probabilities() ? at::logit(flat, kLeastProbability) : flat;
}

// Labels in the order of the rows of Scores.
at::Tensor FlatLabels(const TrainTarget& target, const at::Tensor& output,
                      const at::Tensor& labels) {
  if (target.loss() == TrainTarget::LOSS_BINARY) return labels.reshape({-1});
  std::vector<int64_t> shape = output.sizes().vec();
  shape[target.class_axis()] = 1;
  return labels.reshape(shape).transpose(target.class_axis(), -1).reshape({-1});
}

// By position.
at::Tensor Divergence(const at::Tensor& student, const at::Tensor& teacher, double temperature) {
  const at::Tensor expected = at::log_softmax(teacher / temperature, 1);
  const at::Tensor found = at::log_softmax(student / temperature, 1);
  return (at::exp(expected) * (expected - found)).sum(1) * (temperature * temperature);
}

// Two classes as a pair of scores: sigmoid(s) = softmax([0, s])[1].
at::Tensor AsPairs(const at::Tensor& scores) {
  return at::stack({at::zeros_like(scores), scores}, 1);
}

// By position.
at::Tensor CosineDistance(const at::Tensor& student, const at::Tensor& teacher) {
  const at::Tensor expected = teacher.square().sum(-1);
  const at::Tensor none = expected <= 0;
  const at::Tensor length = expected.masked_fill(none, 1);
  const at::Tensor found = at::maximum(student.square().sum(-1), length * kLeastSquare);
  const at::Tensor cosine = (student * teacher).sum(-1) / (at::sqrt(found) * at::sqrt(length));
  return (1 - cosine).masked_fill(none, 0);
}

bool HasClasses(const TrainTarget& target) {
  return target.loss() == TrainTarget::LOSS_CLASSES || target.loss() == TrainTarget::LOSS_BINARY;
}

}  // namespace

at::Tensor DistillationLoss(const TrainTarget& target, const Training& training,
                            const at::Tensor& student, const at::Tensor& teacher,
                            const at::Tensor& labels) {
  if (target.loss() == TrainTarget::LOSS_SQUARES) {
    return at::mse_loss(student, teacher) / target.variance();
  }
  if (target.loss() == TrainTarget::LOSS_COSINE) return CosineDistance(student, teacher).mean();
  const bool binary = target.loss() == TrainTarget::LOSS_BINARY;
  const at::Tensor expected =
      binary ? AsPairs(BinaryScores(target, teacher)) : Scores(target, teacher);
  const at::Tensor found =
      binary ? AsPairs(BinaryScores(target, student)) : Scores(target, student);
  at::Tensor loss = Divergence(found, expected, training.temperature());
  if (labels.defined()) {
    const at::Tensor flat = FlatLabels(target, student, labels);
    const at::Tensor known = (flat >= 0).to(loss.scalar_type());
    const at::Tensor class_loss =
        -at::log_softmax(found, 1).gather(1, at::clamp_min(flat, 0).unsqueeze(1)).squeeze(1);
    const double alpha = training.alpha();
    loss = loss * (1 - (1 - alpha) * known) + class_loss * ((1 - alpha) * known);
  }
  return loss.mean();
}

void Decisions::Add(const TrainTarget& target, const at::Tensor& student, const at::Tensor& teacher,
                    const at::Tensor& labels) {
  if (!HasClasses(target)) return;
  const bool binary = target.loss() == TrainTarget::LOSS_BINARY;
  const auto classes = [&](const at::Tensor& output) {
    return binary ? (BinaryScores(target, output) > 0).to(at::kLong)
                  : at::argmax(Scores(target, output), 1);
  };
  const at::Tensor chosen = classes(student);
  positions += chosen.numel();
  as_teacher += (chosen == classes(teacher)).sum().item<int64_t>();
  if (!labels.defined()) return;
  const at::Tensor flat = FlatLabels(target, student, labels);
  labelled += (flat >= 0).sum().item<int64_t>();
  as_label += (chosen == flat).sum().item<int64_t>();
}

}  // namespace modelpress::trainer
