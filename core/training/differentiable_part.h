// A model up to where gradients end.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/model/model.h"

namespace modelpress {

struct DifferentiablePart {
  // The model with other outputs: those that do not depend on an operator without gradients, and the values that such
  // operators, and what is behind them, are fed with. Nothing behind them is left.
  Model model;
  // The names of those values, and of the operators' nodes.
  std::vector<std::string> values, nodes;
};

// Nothing where no output depends on an operator that chooses (TopK, NonMaxSuppression, ArgMax and the like) among numbers
// that are computed from the inputs, and where layers with weights stand behind one: those would not be trained, so that
// training must go through it, or be refused by the trainer. Subgraphs are not looked into.
std::optional<DifferentiablePart> FindDifferentiablePart(const Model& model);

}  // namespace modelpress
