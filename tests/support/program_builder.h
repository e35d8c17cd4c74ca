// Programs of PyTorch for tests: the examples of tests/models/pt2, run as ONNX.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/formats/pt2/program.h"
#include "core/model/model.h"
#include "core/model/tensor.h"
#include "tests/support/test_job.h"

namespace modelpress::testing {

// All of tests/models/pt2/examples.json: {name, program, weights, inputs, outputs}.
const nlohmann::json& ProgramExamples();
// {"dtype": "float32", "shape": [2], "data": [1, "nan"]}
Tensor TensorOf(const nlohmann::json& description);
absl::StatusOr<pt2::Program> ProgramOf(const nlohmann::json& example, TestJob& job);
// The example as an ONNX model.
absl::StatusOr<Model> ConvertExample(const nlohmann::json& example, TestJob& job);

}  // namespace modelpress::testing
