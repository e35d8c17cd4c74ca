// Writing nodes of newer operator versions as older ones have them.
#pragma once

#include <cstdint>

#include "core/model/model.h"

namespace modelpress {

// Rewrites nodes of the default domain, in every graph, that an operator's version after `target` made necessary or
// possible, where the same can be said at `target` (at least 13): axes of reductions as an attribute, sizes and pads of all
// axes, Gelu and others from smaller operators. One table of rules; each is exact. What has no rule stays as it is, for
// RelabelOpset to refuse. The model's own opset is not changed: until it is, rewritten nodes may not be valid. O(skeleton).
void LowerNodes(Model& model, int64_t target);

}  // namespace modelpress
