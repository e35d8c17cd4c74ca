// Values inside of the model that follow those of the teacher.
#pragma once

#include "core/base/status.h"
#include "core/trainer/aten.h"
#include "modelpress/v1/recipe.pb.h"
#include "modelpress/v1/trainer.pb.h"

namespace modelpress::trainer {

// The linear map A of a hint, [channels of the teacher, channels of the model], as it begins: the identity where both have
// as many, else normal random numbers of variance 1 / channels of the model. The same seed and number give the same map.
at::Tensor FirstAdapter(const TrainHint& hint, uint64_t seed, uint64_t number);

// By how much hints count at a step (counted from 0): they show the way first (FitNets trains by them alone), and leave the
// end to the outputs. Falls from 1 to 0 along half a cosine.
double HintShare(const Training& training, uint64_t step);

// weight mean((A s - t)^2) / variance over the values of one batch (Romero et al. 2015, "FitNets"). Throws c10::Error where
// the extents beside the channels do not go together.
at::Tensor HintLoss(const TrainHint& hint, const at::Tensor& adapter, const at::Tensor& student,
                    const at::Tensor& teacher);

}  // namespace modelpress::trainer
