// Refitting what is left after a cut: each layer onto what the same layer of the dense model gave.
//
//   dense   x  --> Gemm (W [K, N], b)    --> y
//   narrow  x' --> Gemm (W [kept, N], b) --> y'
//
// W and b of the narrow model become the least squares of y' against y over samples (ridge.h).
// Layers are refitted one after the other in the order of the graph, each on the inputs that it has
// by then, so that a layer also makes good what those before it have lost. Every fifth feed is held
// back: there a refit must be better than the cut weight, or the layer keeps that. Normalizations
// get new scales and biases, one channel at a time; BatchNormalization may instead get the mean and
// variance that its input now has.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/job_context.h"
#include "core/channels/dependency_groups.h"
#include "core/channels/narrow_model.h"
#include "core/data/samples.h"

namespace modelpress {

// One layer, judged on held-back samples.
struct LayerRefit {
  enum class Kept { kCut, kBias, kRidge, kStatistics };
  std::string node;
  // The layer's first output, by which it is found in both models.
  std::string output;
  Kept kept = Kept::kCut;
  // Means over rows of the dense output's y^2, and of the squared error with the cut weight and
  // with what was kept.
  double signal = 0, cut_noise = 0, noise = 0;
  double damping = 0;
};

struct ModelRefit {
  std::vector<LayerRefit> layers;
  // Layers that cannot be refitted, and why.
  std::vector<std::pair<std::string, std::string>> left;
};

// `narrow`: a clone of `dense` after RemoveChannels with `kept`. Both are run once for each layer
// on the longest way from inputs to outputs, as far as that layer. Memory: one sample's activations
// per thread and the moments of the layers that are fitted at once. Errors: those of Session and
// Samples; cancellation.
absl::StatusOr<ModelRefit> RefitModel(const Model& dense, Model& narrow,
                                      const Dependencies& dependencies, const KeptPositions& kept,
                                      const Samples& samples, WeightArena& arena,
                                      const JobContext& context, const NarrowProgress& progress);

}  // namespace modelpress
