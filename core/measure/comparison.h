// Comparing what two models give for the same samples, output by output, streamed.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "core/model/tensor.h"
#include "core/runtime/session.h"
#include "modelpress/v1/report.pb.h"

namespace modelpress {

// Accumulates over batches. Sums are double, in index order: the same on any thread count.
//   sqnr_db       10 log10(sum x^2 / sum (x - y)^2), x original, y artifact; see SqnrDb
//   cosine        sum x y / sqrt(sum x^2 sum y^2); 1 when both are all zero, 0 when one is
//   max_abs_error max |x - y|
// Integer and bool outputs are compared as numbers; strings and complex numbers by equality (an
// unequal one counts as error 1 of signal 1). Where both models give the same value that is not
// finite (NaN and NaN, infinity and the same infinity) there is nothing to compare; any other value
// that is not finite on either side is an infinite error.
class OutputComparer {
 public:
  // Outputs that exist in the original but not in the artifact, or whose shapes differ:
  // ARTIFACT_REJECTED. `samples` is how many samples lie along axis 0 and `first_sample` the number
  // of the first, for the worst sample.
  absl::Status Add(const TensorMap& original, const TensorMap& artifact, uint64_t first_sample,
                   uint64_t samples);
  // One row per output, in name order.
  std::vector<OutputComparison> Finish() const;

 private:
  struct Sums {
    double signal = 0, noise = 0, dot = 0, other = 0, max_error = 0;
    double worst_db = std::numeric_limits<double>::infinity();
    uint64_t worst_sample = 0, not_finite = 0;
    bool any = false;
  };
  std::map<std::string, Sums> sums_;
};

// 10 log10(signal / noise): +inf without noise, 0 for noise on no signal at all, -inf for infinite
// noise.
double SqnrDb(double signal, double noise);

}  // namespace modelpress
