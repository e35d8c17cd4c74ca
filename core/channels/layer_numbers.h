// Weight, bias and statistics of a layer that can be refitted, as linear maps and back.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/channels/refit_site.h"
#include "core/channels/ridge.h"
#include "core/model/graph.h"
#include "core/model/model.h"

namespace modelpress {

// Of one model, whose nodes the sites point to. Not thread-safe.
class LayerNumbers {
 public:
  // Both must outlive it; new numbers go to `arena`.
  LayerNumbers(Model& model, WeightArena& arena)
      : model_(model), arena_(arena), names_(model.proto()) {}

  // The layer as it is: one map for each group. Normalizations map their own output, by the identity.
  absl::StatusOr<std::vector<LinearFit>> Present(const RefitSite& site);
  // Puts the maps in its place. Constants that others read too are left to them.
  absl::Status Write(const RefitSite& site, const std::vector<LinearFit>& fits);

  // Mean and variance that the input of a BatchNormalization has now, and what they make of its
  // output: with o = s (x - m) / sigma + b, the mean of x is m + (mean of o - b) sigma / s.
  struct Statistics {
    std::vector<double> mean, variance;
    std::vector<LinearFit> fits;
  };
  absl::StatusOr<Statistics> NewStatistics(const RefitSite& site,
                                           const std::vector<RowMoments>& moments);
  absl::Status WriteStatistics(const RefitSite& site, const Statistics& statistics);

  // With the bias that all taps of an output channel of a transposed convolution can have; for
  // other layers `fit` itself.
  static LinearFit SharedBias(const RefitSite& site, LinearFit fit);

 private:
  absl::StatusOr<std::vector<double>> Floats(const std::string& name, size_t count, double fill);
  absl::Status SetInput(onnx::NodeProto& node, int input, std::vector<int64_t> dims,
                        const std::vector<double>& values);

  Model& model_;
  WeightArena& arena_;
  UniqueNames names_;
};

}  // namespace modelpress
