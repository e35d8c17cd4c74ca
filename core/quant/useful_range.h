// Which part of a value's range its readers can tell apart.
#pragma once

#include <map>

#include "core/model/graph.h"
#include "core/model/model.h"
#include "core/model/value_key.h"
#include "core/quant/affine.h"

namespace modelpress {

// For values whose every reader stops to tell numbers apart beyond some bound, that bound; infinity on
// the other side. A grid need not reach further.
//
//   Relu                    [0, inf)
//   Clip(low, high)         [low, high]
//   HardSigmoid             where alpha x + beta is in [0, 1]
//   HardSwish               [-3, inf)
//   x * HardSigmoid(x)      from where HardSigmoid is 0 up (hard-swish in two operators)
//
// Several readers: the widest of their ranges. Bounds hold 0. Values without a bound are left out.
std::map<ValueKey, ValueRange> UsefulRanges(Model& model, const GraphIndex& index);

}  // namespace modelpress
