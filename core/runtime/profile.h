// Where the runtime spends its time, and what it makes of a graph.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "core/base/scratch.h"
#include "core/runtime/session.h"

namespace modelpress {

// Nodes of the runtime's own optimized graph by operator type ("domain:Type" outside the default domain), sorted.
struct OptimizedGraph {
  std::vector<std::pair<std::string, int>> operators;
  // Operator type by node name, for nodes that have one. Fused nodes keep the name of their main node.
  absl::flat_hash_map<std::string, std::string> nodes;
};

// Lets the runtime optimize the model as it would to run it fast, and counts. Files go to scratch for the time of the
// call; it costs as much as loading and copying the weights.
absl::StatusOr<OptimizedGraph> InspectOptimizedGraph(const Model& model, int threads,
                                                     Scratch& scratch);

// Time of one node of the optimized graph, mean over the runs.
struct NodeTime {
  std::string node;
  std::string op_type;
  double seconds = 0;
};

// Runs the model `runs` times with the runtime's profiler on, slowest node first.
absl::StatusOr<std::vector<NodeTime>> ProfileModel(const Model& model, const TensorMap& inputs,
                                                   int threads, int runs, Scratch& scratch);

}  // namespace modelpress
