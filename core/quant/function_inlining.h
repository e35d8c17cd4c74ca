// Model-local functions into the graphs that call them.
#pragma once

#include <string>

#include "core/model/model.h"

namespace modelpress {

// Replaces every call of a model-local function by the function's body (libonnx's inliner), so that
// passes find the weights inside; a note says how many functions went. The model stays as it is
// where that would copy weights (a function that holds some and is called more than once) or make
// an unreasonable number of nodes, where functions call each other in a circle, and where libonnx
// refuses. Single functions stay if they import another opset than the model. Pointers into the
// model become invalid.
void InlineFunctions(Model& model, google::protobuf::RepeatedPtrField<std::string>* notes);

}  // namespace modelpress
