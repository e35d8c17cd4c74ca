// Writing a graph anew in the layout that was chosen for it. See layout.h.
#pragma once

#include "absl/status/status.h"
#include "core/model/graph.h"
#include "core/rewrite/layout_graph.h"
#include "core/rewrite/turn_constant.h"

namespace modelpress {

// Replaces the nodes of `graph`, of which `layout` was made. Names of inputs, outputs and of what subgraphs read stay.
absl::Status RewriteLayout(const LayoutGraph& layout, ConstantTurner* constants, UniqueNames* names,
                           onnx::GraphProto* graph);

}  // namespace modelpress
