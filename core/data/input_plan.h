// What values an input of a model can take, as far as its graph tells: for synthetic samples.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/model/model.h"
#include "core/runtime/session.h"

namespace modelpress {

struct InputPlan {
  std::string name;
  DataType type = DataType::kUndefined;
  // Without free extents.
  std::vector<int64_t> dims;
  // Integers lie in [low, high]. Meaningless for floats, bools and strings.
  int64_t low = 0;
  int64_t high = 1;
  // Zeros and ones, the first of each row and most of the others ones.
  bool is_mask = false;
};

// One plan per input that must be fed. DATA_INVALID for inputs that are no tensors.
absl::StatusOr<std::vector<InputPlan>> PlanInputs(const Model& model);

// Extents for the free axes of all inputs together: equal symbols get equal extents, "a + b" their sum.
std::vector<std::vector<int64_t>> ChooseExtents(const std::vector<ValueInfo>& inputs);

}  // namespace modelpress
