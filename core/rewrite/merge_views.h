// Operators that only show elements in another shape or order, merged with their neighbours.
#pragma once

#include "absl/status/statusor.h"
#include "core/model/model.h"

namespace modelpress {

// In every graph, where shapes and axes are constants:
//
//   Reshape (Squeeze, Unsqueeze) after another one --> one Reshape, or nothing where the shape is what it was
//   Unsqueeze - Transpose - Squeeze of those axes  --> Transpose
//   Reshape - Transpose - Reshape that splits axes --> Reshape - Transpose
//   Gather of one place from a Transpose           --> Gather along the axis before it, if the others keep their order
//   Gemm with a Transpose as second matrix         --> Gemm with the other transB
//   Expand before an operator that broadcasts      --> nothing, if the result's shape stays
//
// Nodes never become more; value_info goes, and so does what nobody reads. Returns how many nodes changed. O(nodes), and
// shape inference. New constants go to `arena`.
absl::StatusOr<int> MergeViews(Model& model, WeightArena& arena);

}  // namespace modelpress
