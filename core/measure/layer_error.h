// The error of each quantized layer alone: float inputs, its own grids and codes.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/job_context.h"
#include "core/data/samples.h"
#include "core/model/model.h"

namespace modelpress {

// Of one layer, over all samples and positions; y is its float output, q the quantized layer's.
struct LayerError {
  std::string node;
  // Means of y^2 and of (y - q)^2.
  double signal = 0, noise = 0;
  // The mean of y - q for each output channel.
  std::vector<double> mean;

  // noise / signal; 0 / 0 is 0.
  double relative() const;
};

// Each Conv, Gemm and MatMul of `quantized` that reads codes is run on the float inputs of
// `reference`, quantized on its own grids, beside the float layer: no layer sees the errors of those
// before it. Layers are found by node name in both; `reference` is the float model that `quantized`
// was made from. Layers that no sample came by are left out.
//
// One forward over `samples` in which each layer is computed twice. Memory is that of one sample's
// activations. Errors: those of GatherStatistics.
absl::StatusOr<std::vector<LayerError>> MeasureLayerErrors(Model& quantized, const Model& reference,
                                                           const Samples& samples,
                                                           const JobContext& context);

}  // namespace modelpress
