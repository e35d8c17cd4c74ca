// Constants in another shape or type, made at once.
#pragma once

#include "absl/status/status.h"
#include "core/model/model.h"

namespace modelpress {

// Constants of the main graph that Reshape, Unsqueeze, Squeeze, Transpose or Cast read first:
//
//   reshaped: they get the new shape, under their own name where nothing else reads them, else as a second constant if they
//     are small (64 KiB)
//   transposed: likewise, with their bytes in the new order
//   cast: small ones between types of whole bytes whose values double precision holds
//
// The nodes are left without readers. New bytes go to `arena`.
absl::Status FoldViews(Model& model, WeightArena& arena);

}  // namespace modelpress
