// Choosing the layout of a graph: Transposes are moved to where they cost least and cancelled.
//
// Values of a graph fall into groups: operators that do not care about the order of axes (elementwise ones), or whose axes
// can be renamed (Concat, Softmax, Pad, Resize, reductions ...), tie their inputs and outputs together. All of a group is
// stored in one order of axes. A group keeps the order that it has or takes one in which Transposes beside it vanish,
// whichever moves fewer bytes: an operator that needs the original order ("barrier") costs one Transpose for each value
// that it reads from the group or gives to it. Groups touch only at Transposes and barriers, so each is decided by itself.
// Constants are stored in the new order, at no cost at run time.
//
//   x -> Transpose -> Conv -> Relu -> Transpose -> Add(c) -> Transpose -> Conv -> ...
//   x -> Transpose -> Conv -> Relu -> Add(c turned) -> Conv -> ...
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/base/job_context.h"
#include "core/model/model.h"

namespace modelpress {

// Rewrites every graph of the model, subgraphs one by one (what they read of an outer graph keeps its layout). Results do
// not change; nodes never become more by more than the Transposes that were moved. Turned constants go to `arena`.
// Needs shapes: infers them, those of outputs stay where they were not declared, and value_info goes.
absl::Status OptimizeLayout(Model& model, WeightArena& arena, const JobContext& context);

// A line for each Transpose of the model: what it stands between, which is why it stays. At most 50 lines and a last one.
std::vector<std::string> TransposeNotes(const Model& model);

}  // namespace modelpress
