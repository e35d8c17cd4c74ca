// Nodes that compute the same from the same, once.
#pragma once

#include "core/model/model.h"

namespace modelpress {

// Nodes of one graph with equal operator, attributes and inputs become one, the first; outputs of graphs keep their names,
// and their nodes where the first one makes an output too. Random operators and nodes with subgraphs stay. Names of values
// must be unique over all graphs, as those of readers are. Returns how many were merged; they are left without readers.
// O(nodes and attributes), and O(nodes) more for each output that is merged.
int MergeEqualNodes(Model& model);

}  // namespace modelpress
