// Values that are computed from constants alone.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/cancellation.h"
#include "core/model/graph.h"
#include "core/model/model.h"
#include "core/model/tensor.h"

namespace modelpress {

struct ConstantExpression {
  Tensor value;
  // Names of the floating-point constants that the value is made of, the largest first.
  std::vector<std::string> sources;
};

// The value `name` as seen from `scope`, if nothing but constants that are cut, joined, reshaped,
// transposed or cast lies behind it: exporters put recurrent weights together that way (Slice,
// Concat, Unsqueeze). Nothing for plain constants (they need no evaluation), for values that depend
// on inputs, for other operators and for types other than float32. The runtime evaluates it; memory
// is that of the value.
// `index` is of `model`. Errors: MODEL_MALFORMED.
absl::StatusOr<std::optional<ConstantExpression>> EvaluateConstantExpression(
    const Model& model, const GraphIndex& index, const onnx::GraphProto& scope,
    std::string_view name);

// Which inputs of which nodes a caller wants to be plain constants.
using WantsConstant = std::function<bool(const onnx::NodeProto& node, int input)>;

// An input that reads an initializer now in the place of an expression.
struct FoldedInput {
  onnx::NodeProto* node = nullptr;
  int input = -1;
  std::string original;              // what it read before
  std::string name;                  // of the initializer
  std::vector<std::string> sources;  // the constants that it is made of, the largest first
};

// Every wanted float32 input that is a constant expression becomes an initializer of the main
// graph; equal values become one. Pointers into the model stay valid, indexes do not. What nobody
// reads afterwards is left to RemoveDead, so that an input can be given back its expression.
absl::StatusOr<std::vector<FoldedInput>> FoldConstantInputs(Model& model, WeightArena& arena,
                                                            const WantsConstant& wanted,
                                                            const Cancellation& cancellation);

}  // namespace modelpress
