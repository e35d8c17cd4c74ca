// What the recurrent operators share: weights of several gates as one, states, activations, one step of an LSTM.
#pragma once

#include <string>
#include <vector>

#include "core/formats/tflite/operator.h"

namespace modelpress::tflite {

// Inputs `parts` (constants or not, each [rows, columns] or [rows]) below each other, with a leading axis of 1 for each
// entry of `directions`: {1, n * rows, columns}. Constants are joined here: codes with a scale each become codes with a
// scale for each row. "" if the first is absent.
absl::StatusOr<std::string> StackGates(OperatorContext& c,
                                       const std::vector<std::vector<int>>& directions,
                                       std::string_view name);

// A variable tensor as an input of the model with zeros for its default; `next` becomes the output that hands the state
// on. Refused inside of loops and branches.
absl::StatusOr<std::string> StateInput(OperatorContext& c, int input);
absl::Status StateOutput(OperatorContext& c, int input, const std::string& next);

// Says in the conversion's notes that the operator begins each inference from zeros where the source would go on from
// where it was.
void NoteZeroStart(OperatorContext& c);

// The name of the ONNX activation; refused for those that recurrent operators of ONNX do not have.
absl::StatusOr<std::string> RecurrentActivation(OperatorContext& c,
                                                schema::ActivationFunctionType activation);

}  // namespace modelpress::tflite
