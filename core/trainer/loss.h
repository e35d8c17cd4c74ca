// What training makes small, and the metrics that are read beside it.
#pragma once

#include <optional>

#include "core/base/status.h"
#include "core/trainer/aten.h"
#include "modelpress/v1/recipe.pb.h"
#include "modelpress/v1/trainer.pb.h"

namespace modelpress::trainer {

// Mean over the positions of one batch. Classes (Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural
// network"):
//   without a label   T^2 KL(softmax(teacher / T) || softmax(student / T))
//   with one          alpha times that + (1 - alpha) cross-entropy
// One score for two classes: the same of the two probabilities sigmoid(s) and 1 - sigmoid(s).
// Squares: (student - teacher)^2 / variance.
// Cosine: 1 - cosine along the last axis, at each index of the others; 0 where the teacher's vector is 0, which has no
// direction. A student's vector counts as no shorter than a millionth of the teacher's, so gradients are finite.
// `labels` is undefined, or int64 of the teacher's shape without the class axis, -1 where there is none.
at::Tensor DistillationLoss(const TrainTarget& target, const Training& training,
                            const at::Tensor& student, const at::Tensor& teacher,
                            const at::Tensor& labels);

// Counts of right decisions, summed over batches.
struct Decisions {
  int64_t positions = 0, as_teacher = 0, labelled = 0, as_label = 0;

  void Add(const TrainTarget& target, const at::Tensor& student, const at::Tensor& teacher,
           const at::Tensor& labels);
};

}  // namespace modelpress::trainer
