// New weights for a graph that is there: initializers are replaced by tensors of the same name.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/formats/weights/named_tensor.h"
#include "core/model/model.h"

namespace modelpress {

// `renames`: name in `weights` -> name in the model; an empty one leaves the tensor out. Every tensor must have an
// initializer or Constant of its name, type and shape (but for axes of extent 1); counters of batches
// (num_batches_tracked) are left out where the model has none. Otherwise nothing is changed and RECIPE_INVALID lists all that do
// not fit. `notes` receives the weights of the model that were kept, a line for all of them.
absl::Status PutWeights(const std::vector<NamedTensor>& weights,
                        const std::map<std::string, std::string>& renames, Model* model,
                        std::vector<std::string>* notes);

}  // namespace modelpress
