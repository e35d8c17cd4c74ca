// Arithmetic on small integer constants (shapes, axes, loop counters), done at once.
#pragma once

#include "core/model/model.h"

namespace modelpress {

// Nodes of every graph whose inputs are constants of type int32, int64 or bool of the main graph with at most 64 elements
// are replaced by their result: arithmetic, comparisons, logic, Cast, Reshape, Squeeze, Unsqueeze, Concat, Gather, Slice.
// Values of different graphs must have different names, as those of readers have. Returns how many were replaced.
int FoldIntegers(Model& model);

}  // namespace modelpress
