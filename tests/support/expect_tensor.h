// Tensors held against those of another implementation.
#pragma once

#include "core/model/tensor.h"

namespace modelpress::testing {

// Fails, naming the first element, unless types and shapes are the same, floats differ by no more than `share` of the
// largest finite magnitude (float16: by its own step) and other numbers by no more than `quanta`. NaN only where NaN is.
void ExpectTensor(const Tensor& got, const Tensor& wanted, double share, double quanta = 0);

}  // namespace modelpress::testing
