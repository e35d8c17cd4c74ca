// Codes of one weight by plain rounding, as several passes make them.
#pragma once

#include <optional>

#include "core/passes/pass.h"
#include "core/quant/code_weight.h"
#include "core/quant/progress.h"

namespace modelpress {

// Fills in layout, parameters and codes of `coded`, whose weight and rule are set, and what the
// change says of them; a skip if it cannot have any.
absl::StatusOr<std::optional<v1::Skip>> EncodeByRounding(const Model& model, PassContext& context,
                                                         bool per_channel, WeightProgress& progress,
                                                         CodedWeight* coded, Change* change);

// Bytes of the weight and of its codes, scales and zero points.
absl::Status FillBytes(const Model& model, const CodedWeight& coded, Change* change);

}  // namespace modelpress
