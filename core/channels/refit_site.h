// Which layers of a model can be refitted, and where their numbers stand.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/channels/dependency_groups.h"
#include "core/channels/ridge.h"
#include "core/channels/row_sums.h"
#include "core/model/graph.h"

namespace modelpress {

// A layer of the narrow model.
struct RefitSite {
  onnx::NodeProto* node = nullptr;
  RowLayout rows;
  // What it reads after the cut: x of the rows. For normalizations their own output.
  std::string x;
  // The weight (scale of a normalization), [N, K] where `outputs_first`, else [K, N]; groups lie
  // one after the other.
  std::string weight;
  int weight_input = 1;
  bool outputs_first = false;
  // Where the bias stands or can be put: that input of that node. Null: nowhere. `bias_apart`: the
  // node is an Add behind the layer, so that the bias is not part of its output.
  onnx::NodeProto* bias_node = nullptr;
  int bias_input = 2;
  bool bias_apart = false;
  // Of BatchNormalization.
  bool has_statistics = false;
  double epsilon = 0;
};

// Nothing if the layer cannot be refitted; then `why` says so, and stays empty where the node is no
// layer at all. Pointers are into `narrow`.
std::optional<RefitSite> FindRefitSite(Model& narrow, const GraphIndex& index,
                                       const ValueShapes& shapes, const KeptPositions& kept,
                                       onnx::NodeProto& node, std::string* why);

}  // namespace modelpress
