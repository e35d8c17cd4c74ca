// Choosing the range of values that an 8- or 16-bit grid covers, from a histogram.
#pragma once

#include "core/quant/affine.h"
#include "core/quant/histogram.h"

namespace modelpress {

enum class RangeMethod { kMinMax, kPercentile, kEntropy, kMse };

struct RangeRule {
  RangeMethod method = RangeMethod::kMinMax;
  // Only for kPercentile: the share of values that stay inside, 0 < p <= 100.
  double percentile = 99.999;
  // The grid is symmetric about 0.
  bool symmetric = false;
  // Steps of the grid: highest minus lowest code.
  int steps = 255;
};

// kMinMax      everything observed.
// kPercentile  symmetric: |x| up to the percentile; else (100 - p) / 2 percent are cut on each side
//              (ONNX Runtime's rule); never beyond what was observed.
// kEntropy     the threshold on |x| with the least KL(P || Q), P the distribution with the rest in
//              its last bin, Q the same merged to the grid's levels and spread over P's non-empty
//              bins (S. Migacz, "8-bit Inference with TensorRT", GTC 2017), on 2048 to 4095 bins.
// kMse         least expected squared error, step^2 / 12 for each value inside that is not 0, the
//              squared distance to the edge for each outside; both edges are searched.
// The result holds 0 and lies within what was observed. O(bins) memory.
ValueRange ChooseRange(const Histogram& histogram, const RangeRule& rule);

// Share of values outside of [range.min, range.max], to the accuracy of a bin.
double ClippedShare(const Histogram& histogram, const ValueRange& range);
// 10 log10(sum x^2 / expected squared error) of a grid of `steps` over `range`, by the model of
// kMse; infinity without error.
double ExpectedSqnrDb(const Histogram& histogram, const ValueRange& range, int steps);

}  // namespace modelpress
