// Taking the mean error of quantized layers out of their biases.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/job_context.h"
#include "core/data/samples.h"
#include "core/model/model.h"

namespace modelpress {

// One layer's correction.
struct BiasCorrection {
  std::string node;
  uint64_t channels = 0;
  // Channels whose correction lowers the error on the held-back samples; the others keep their bias.
  uint64_t kept = 0;
  // What is added to each channel's bias; 0 where it was not kept.
  std::vector<float> shift;
};

// Fast bias correction (M. Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias
// Correction", ICCV 2019, with data as in NNCF), from each layer's own error on float inputs (see layer_error.h):
//
//   shift[c] = mean over samples and positions of (y_float - y_quantized)[c]
//
// so that no layer sees the errors of those before it (corrections on such errors diverge). Means
// over feeds whose number is 4 modulo 5 are held back: as shifting by s changes a channel's mean
// squared error by (m - s)^2 - m^2, m its mean error there, the correction is kept where |m - s| <
// |m|. With fewer than 5 feeds nothing can be held back, and nothing is corrected.
//
// One forward with each layer computed twice. Errors: those of MeasureLayerErrors.
absl::StatusOr<std::vector<BiasCorrection>> MeasureBiasCorrections(Model& quantized,
                                                                   const Model& reference,
                                                                   const Samples& samples,
                                                                   const JobContext& context);

// Adds the shifts to biases of float layers of `model`, by node name: the third input of Conv and
// Gemm (a new one where there is none), the constant summand of a MatMul's only reader. Layers
// without such a place are left alone. Returns the number of channels that were shifted.
absl::StatusOr<uint64_t> ShiftBiases(Model& model, const std::vector<BiasCorrection>& corrections,
                                     WeightArena& arena);

}  // namespace modelpress
