// Which weights get more bits than asked for, where all together may take a number of bytes.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/measure/weight_inputs.h"
#include "core/model/model.h"

namespace modelpress {

namespace v1 {
class QuantizeWeights;
}  // namespace v1

// What the budget gives a weight instead of the options.
enum class Raise { kInt8, kFloat };

struct WeightBudget {
  // Weights that are not here are coded as the options say.
  std::map<const onnx::TensorProto*, Raise> raised;
  // What was chosen, for people.
  std::string note;
};

// Shares out options.max_bytes (of all weights of the model, which now take `bytes_before`). The
// sensitivity of a weight is the share of its output's energy that rounding takes: squared errors
// over squares, each row weighted with the mean square of its input where that is known. Reads every
// weight twice. RECIPE_INVALID if the options already take more.
absl::StatusOr<WeightBudget> FitWeights(const Model& model,
                                        const std::vector<CandidateWeight>& weights,
                                        const v1::QuantizeWeights& options,
                                        const WeightInputs& inputs, uint64_t bytes_before,
                                        const JobContext& job);

}  // namespace modelpress
