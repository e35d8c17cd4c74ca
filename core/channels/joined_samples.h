// Several feeds of a set of samples as one.
#pragma once

#include <memory>

#include "core/data/samples.h"

namespace modelpress {

// Feeds of `each` samples, in the order of the samples: of a set that feeds one sample at a time, along axis 0 of every
// input. Labels are left out. `samples` must be of one shape: else Read is DATA_INVALID.
std::unique_ptr<Samples> JoinSamples(std::unique_ptr<Samples> samples, uint64_t each);

}  // namespace modelpress
