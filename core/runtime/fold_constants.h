// Computing at once what a model computes from constants alone.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/model/model.h"

namespace modelpress {

struct FoldedValue {
  std::string value;
  std::string node;
  uint64_t bytes = 0;
};

struct FoldedConstants {
  std::vector<FoldedValue> folded;
  // Computed from constants, but larger than what they are computed from and than `cap` bytes.
  std::vector<FoldedValue> too_large;
};

// Nodes of the main graph whose inputs are all constant are run once, without optimizations of the runtime, and what
// others read of them becomes initializers: those of at most `cap` bytes, and those not larger than the constants that
// they are computed from. Random operators, DequantizeLinear and nodes with subgraphs stay. Folded nodes are left without
// readers. New bytes go to `arena`. Errors: those of the runtime.
absl::StatusOr<FoldedConstants> FoldConstants(Model& model, uint64_t cap, WeightArena& arena);

}  // namespace modelpress
