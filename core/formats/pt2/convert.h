// PyTorch exported programs to ONNX.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/job_context.h"
#include "core/formats/pt2/program.h"
#include "core/model/model.h"
#include "modelpress/v1/recipe.pb.h"

namespace modelpress::pt2 {

// The opset that conversions are written in.
inline constexpr int64_t kImportOpset = 21;

// The program as an ONNX model that computes the same numbers. Inputs and outputs have the names and the order that the
// program's signature gives them, weights those of the module's parameters and buffers, free extents those of its symbols.
// Buffers that the program changes become inputs with their value as default, and outputs. OP_UNSUPPORTED lists every
// operator that stands in the way. RECIPE_INVALID for options that do not fit. `notes`, if given, receives what was left out.
absl::StatusOr<Model> ConvertProgram(const Program& program, const Import& options,
                                     const JobContext& context, std::vector<std::string>* notes);

}  // namespace modelpress::pt2
