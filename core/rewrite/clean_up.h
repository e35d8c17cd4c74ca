// Clean-up that changes no result: nodes that only hand on their input, constants that are there twice.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "core/model/graph.h"
#include "core/model/model.h"

namespace modelpress {

// One thing that was done: the node or constant, and what happened to it.
struct CleanUp {
  std::string node;
  std::string tensor;
  std::string what;
};

// Values of Constant nodes of the main graph become initializers of the same name. O(nodes).
std::vector<CleanUp> MoveConstantsToInitializers(Model& model);
// Identity, Dropout that is not training, and Cast, Transpose, Concat and the like that give back their input, in every
// graph; outputs of graphs keep their names, so an Identity between an input and an output stays.
std::vector<CleanUp> RemoveIdentities(Model& model);
// Initializers of the main graph with equal type, shape and bytes become one (the first). Those that are inputs too stay.
// O(bytes).
absl::StatusOr<std::vector<CleanUp>> MergeEqualConstants(Model& model);
// Initializers of the main graph that nothing reads but an Identity that makes an output take the output's name, and the
// Identity goes; those in `kept` stay. Models with subgraphs stay as they are, since those may read anything. O(nodes).
void GiveConstantOutputs(Model& model, const std::set<std::string>& kept);

}  // namespace modelpress
