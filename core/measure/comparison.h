// Comparing what two models give for the same samples, output by output, streamed.
#pragma once

#include <string>
#include <vector>

#include "core/model/tensor.h"
#include "core/runtime/session.h"
#include "modelpress/v1/report.pb.h"

namespace modelpress {

// Accumulates over batches. Sums are double, in index order: the same on any thread count.
//   sqnr_db       10 log10(sum x^2 / sum (x - y)^2), x original, y artifact; +inf when equal, 0 sums give 0
//   cosine        sum x y / sqrt(sum x^2 sum y^2); 1 when both are all zero
//   max_abs_error max |x - y|
// Integer and bool outputs are compared as numbers, strings by equality (unequal counts as error 1).
class OutputComparer {
 public:
  // Outputs that exist in the original but not in the artifact, or whose shapes differ: ARTIFACT_REJECTED.
  absl::Status Add(const TensorMap& original, const TensorMap& artifact, uint64_t first_sample, uint64_t samples);
  // One row per output, in name order.
  std::vector<OutputComparison> Finish() const;

 private:
  struct Sums {
    double signal = 0, noise = 0, dot = 0, other = 0, max_error = 0, worst_db = 0;
    uint64_t worst_sample = 0, not_finite = 0;
    bool any = false;
  };
  std::vector<std::pair<std::string, Sums>> sums_;
};

// 10 log10(signal / noise) with the conventions above.
double SqnrDb(double signal, double noise);

}  // namespace modelpress
