// Constant factors and summands into the convolutions beside them, and hard-swish written out in
// single steps as two operators: fewer passes over activations, and none between integer kernels.
#pragma once

#include "absl/status/statusor.h"
#include "core/base/job_context.h"
#include "core/model/model.h"

namespace modelpress {

// How many nodes each rule took away.
struct AffineFolding {
  int into_convolutions = 0;
  int hard_swish = 0;
};

// With c and a constants, one for all channels or one for each, and values without other readers:
//
//   Conv(x; W, b) * c          Conv(x; c W, c b)
//   Conv(x; W, b) + a          Conv(x; W, b + a)                     ConvTranspose too
//   Conv(c x; W, b)            Conv(x; W c, b)
//   Conv(x + a; W, b)          Conv(x; W, b + sum of W a)            without padding
//   Conv(c x + a; W, b)        Conv(x + a / c; W c, b)               with padding
//   x clip(x + 3, 0, 6) / 6    x HardSigmoid(x; 1/6, 1/2)            hard-swish (Howard et al. 2019)
//
// computed in double precision: outputs change by rounding only. Errors: cancellation, SCRATCH_FULL.
// Pointers into the model become invalid.
absl::StatusOr<AffineFolding> FoldAffine(Model& model, WeightArena& arena,
                                         const JobContext& context);

}  // namespace modelpress
